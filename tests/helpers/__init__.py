"""What several tests share: nets, images, results folders, and oracles."""
