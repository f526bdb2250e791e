"""From an image to what in it made a unit respond: saliency maps by backward passes."""
