"""Panes: pure functions from a `View` to a picture, and from a place in it to what is there."""
