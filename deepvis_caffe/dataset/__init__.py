"""Datasets: one pass over images gives each unit's top images, statistics and correlation.

`source`, `image_files`, `databases`, `tiles`, `open_source`
    Sources of images.
`loader`, `decoders`
    Loading them as the net's input, by threads or by processes.
`scan`, `reduction`, `layer_scan`, `moments`
    The pass, and what it keeps for each layer.
`top_images`, `statistics`, `correlation`
    Results computed from a scan.
"""
