"""Where frames come from: cameras, videos, images, and pictures pushed in from outside."""
