"""What the viewer is set to, what changes it, and the records that the other rooms exchange."""
