"""Sources of frames: cameras, videos, images, and pictures pushed by a front end."""
