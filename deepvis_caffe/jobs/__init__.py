"""Resumable work over units or images, in this process, in worker processes, or on a cluster.

`job`
    A net, where it runs, and the results folder: the input of all jobs.
`optimize`
    Optimized images of a layer's units, from net to files; `batches` runs the ascents.
`scan`
    A pass over a dataset, in shards that are kept on disk.
`top_images`
    Pictures of each unit's top activating images.
"""
