"""Writes the files in ``prototxt/`` from published architectures; nobody edits those by hand."""
