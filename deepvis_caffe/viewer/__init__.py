"""The live viewer: what every unit of a net computes from a camera, a video or images."""
