"""Kill commands in the middle of their work, and see what they leave and how they go on."""
