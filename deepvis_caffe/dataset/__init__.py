"""What a dataset does to a net: which images excite each unit most, and each unit's statistics."""
