"""A net's fingerprint: ``net -> digest``, the same wherever its files are the same."""

from __future__ import annotations

import hashlib

from deepvis_caffe.engines.base import Net


def fingerprint(net: Net) -> str:
    """A digest of the net's layers, weights and preprocessing."""
    digest = hashlib.blake2b(digest_size=16)
    # Field by field: the deploy net, not the file, so that a comment in it changes nothing.
    digest.update(net.model.params.SerializeToString(deterministic=True))
    digest.update(net.model.foreign.encode())
    for name, blobs in sorted(net.model.weights.items()):
        digest.update(name.encode())
        for blob in blobs:
            digest.update(blob.tobytes())
    p = net.preprocessor
    digest.update(repr((p.shape, p.channel_swap, p.raw_scale, p.input_scale)).encode())
    digest.update(p.low.tobytes())
    return digest.hexdigest()
