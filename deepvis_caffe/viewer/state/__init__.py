"""The viewer's state, the actions that change it, and the records that subpackages exchange."""
