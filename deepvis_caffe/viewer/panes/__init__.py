"""Panes: pure functions that draw a `View` as a picture, and do hit tests in it."""
