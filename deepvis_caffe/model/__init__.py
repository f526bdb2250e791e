"""Caffe models: reading, checking and analyzing them without running them."""
