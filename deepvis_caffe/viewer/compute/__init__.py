"""The worker thread that owns the net: frames, attribution, and image optimization when idle."""
