"""What the viewer is set to, what changes it, and what the panes may read."""
