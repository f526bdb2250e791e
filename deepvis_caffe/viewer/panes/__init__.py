"""Panes: pure functions from a `View` to a picture, and from a pixel of it to what is there."""
