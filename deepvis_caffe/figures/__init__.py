"""Drawing: montages, captions, labelled figures, saliency maps as pictures, plots."""
