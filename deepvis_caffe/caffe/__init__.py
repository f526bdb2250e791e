"""pycaffe's surface over the embedded engine."""
