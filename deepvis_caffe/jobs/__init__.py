"""Resumable work over units or images, in this process, in many, or on a cluster.

`job`
    A net, where it runs, and the results folder: what all work takes.
`optimize`
    Optimized images of a layer's units, from net to files; `batches` runs the ascents.
`scan`
    A pass over a dataset, in shards that are kept.
`top_images`
    The pictures of the images that excite each unit most.
"""
