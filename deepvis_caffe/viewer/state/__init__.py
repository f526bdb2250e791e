"""What the viewer is set to, what changes it, and the records that subpackages exchange."""
