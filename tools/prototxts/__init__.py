"""Generate the files in ``prototxt/`` from published architectures; do not edit them by hand."""
