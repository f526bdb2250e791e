"""The thread that owns the net: frames, backward passes, and images optimized when idle."""
