"""Datasets: one pass over images gives each unit's top images, statistics and correlation.

`source`, `image_files`, `databases`, `tiles`, `open_source`
    Where images come from.
`loader`, `decoders`
    Loading them as the net's input, by threads or by processes.
`scan`, `reduction`, `layer_scan`, `moments`
    The pass, and what it keeps of each layer.
`top_images`, `statistics`, `correlation`
    What is made of a scan.
"""
