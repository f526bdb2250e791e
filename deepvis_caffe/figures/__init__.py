"""Drawing: montages, captions, labeled figures, saliency maps as pictures, plots."""
