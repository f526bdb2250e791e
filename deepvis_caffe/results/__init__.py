"""The results folder. Only this room knows its layout, for writing and for reading."""
