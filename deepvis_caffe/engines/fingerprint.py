"""A net's fingerprint: ``net -> digest``, the same wherever its files are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ModelError


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


def same_net(make_net: Callable[[], Net], expected: str) -> Net:
    """A worker's net, once it is sure that it is the one whose fingerprint is `expected`.

    Raises
    ------
    ModelError
        It is another one.
    """
    net = make_net()
    if fingerprint(net) != expected:
        raise ModelError(
            "a worker's net is not the same as here: prototxt, weights or mean differ; copy the "
            f"files again (prototxt {net.model.prototxt}, weights {net.model.caffemodel})"
        )
    return net
