"""Kill commands in the middle of their work, and check what they leave and how they resume."""
