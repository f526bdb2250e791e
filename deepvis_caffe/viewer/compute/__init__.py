"""The thread that owns the net: frames, backward passes, and images that are optimized when idle."""
