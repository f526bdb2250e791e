"""Shared by several tests: nets, images, results folders, and oracles."""
