"""The live viewer: the activations of every unit of a net, while a camera or images are its input."""
