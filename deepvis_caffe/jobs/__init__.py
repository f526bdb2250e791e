"""Resumable work over units or images, in this process, in many, or on a cluster."""
