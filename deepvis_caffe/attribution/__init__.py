"""From an image to what in it made a unit respond.

>>> attribute(net, image, "pool10", 281, method="integrated_gradients").picture()

`deepvis_caffe.attribution.attribute` lists the methods, `deepvis_caffe.attribution.score` says what
is attributed, and `deepvis_caffe.attribution.backward` has saliency maps by one backward pass, for
the viewer and for top images.
"""
