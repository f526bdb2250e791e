"""From an image to what in it made a unit respond.

>>> attribute(net, image, "pool10", 281, method="integrated_gradients").picture()

`deepvis_caffe.attribution.attribute` lists the methods, `deepvis_caffe.attribution.score` says what
is attributed, `deepvis_caffe.attribution.pictures` draws maps, and
`deepvis_caffe.attribution.backward` has the saliency maps of top images, many at a time.
"""
