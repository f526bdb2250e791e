"""Attribution: which parts of an image made a unit respond.

>>> attribute(net, image, "pool10", 281, method="integrated_gradients").picture()

`deepvis_caffe.attribution.attribute` lists the methods, `deepvis_caffe.attribution.score` defines
what is attributed, `deepvis_caffe.attribution.pictures` draws maps, and
`deepvis_caffe.attribution.backward` computes the saliency maps of top images in batches.
"""
