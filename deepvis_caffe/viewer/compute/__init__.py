"""The threads that own the net: frames, backward passes, and images made while idle."""
