"""Where frames come from: cameras, videos, images, and pictures that somebody else pushes in."""
