"""Runs any list of prototxts with random weights, and says of each how far it comes and why."""
