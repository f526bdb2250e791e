"""The live viewer: what every unit of a net answers to what a camera sees, as it sees it."""
