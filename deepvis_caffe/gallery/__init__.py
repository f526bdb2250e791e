"""Results on disk, and the pictures made of them."""
