"""Run a list of prototxts with random weights, and report how far each one gets, and why."""
