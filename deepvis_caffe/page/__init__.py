"""The static gallery page over a results folder."""
