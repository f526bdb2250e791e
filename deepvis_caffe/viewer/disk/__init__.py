"""What the viewer reads from the results folder, and the pictures and videos that it saves."""
