"""What a Caffe model is: reading it, checking it, and what can be known without running it."""
