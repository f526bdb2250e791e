"""The static gallery page of a results folder."""
