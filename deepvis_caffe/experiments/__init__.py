"""The experiments of the paper: sweep, search, presets, first-layer filters, sensitivity."""
