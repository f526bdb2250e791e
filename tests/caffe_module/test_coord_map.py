"""Coordinate maps and crops, against real pycaffe's ``coord_map``."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deepvis_caffe.caffe import coord_map, net_spec
from deepvis_caffe.caffe.coord_map import coord_map_from_to, crop
from deepvis_caffe.caffe.net_spec import Top, layers
from deepvis_caffe.errors import DeepVisError


@pytest.fixture
def real(caffe: Any) -> Any:
    """Both of its modules in one."""
    import caffe.coord_map
    import caffe.net_spec

    return SimpleNamespace(**{**vars(caffe.net_spec), **vars(caffe.coord_map)})


OURS = SimpleNamespace(**{**vars(net_spec), **vars(coord_map)})


def up_and_down(
    c: Any, conv: dict[str, Any], pool: Any = 2, up: Any = 2, pad: Any = 0, dims: int = 2
) -> Any:
    """Convolution, pooling and deconvolution, as in a fully convolutional net."""
    n, L = c.NetSpec(), c.layers
    n.data = L.Input(shape={"dim": [2, 1] + [100] * dims})
    n.aux = L.Input(shape={"dim": [2, 1] + [20] * dims})
    n.conv = L.Convolution(n.data, num_output=10, **conv)
    n.pool = L.Pooling(n.conv, pool=c.params.Pooling.MAX, kernel_size=pool, stride=pool, pad=0)
    size = [2 * s for s in up] if isinstance(up, list) else 2 * up
    n.up = L.Deconvolution(
        n.pool, convolution_param={"num_output": 10, "kernel_size": size, "stride": up, "pad": pad}
    )
    return n


def plain(c: Any) -> Any:
    return up_and_down(c, {"kernel_size": 3})


def both_ways(c: Any) -> list[Any]:
    n = plain(c)
    return [c.coord_map_from_to(n.up, n.data), c.coord_map_from_to(n.data, n.up)]


def strides(c: Any) -> list[Any]:
    nets = [up_and_down(c, {"kernel_size": 3}, pool=4, up=up) for up in (2, 3, 4)]
    return [c.coord_map_from_to(n.up, n.data) for n in nets]


def padding(c: Any) -> list[Any]:
    nets = [
        up_and_down(c, {"kernel_size": 5, "stride": 2, "pad": pad}, pad=up_pad)
        for pad, up_pad in ((0, 0), (7, 0), (0, 7), (7, 7))
    ]
    return [c.coord_map_from_to(n.up, n.data) for n in nets]


def dilation(c: Any) -> list[Any]:
    n = up_and_down(c, {"kernel_size": [3, 5], "stride": [1, 2], "pad": [0, 10], "dilation": 2})
    return [c.coord_map_from_to(n.up, n.data)]


def three_axes(c: Any) -> list[Any]:
    conv = {"kernel_size": [3, 3, 3], "stride": [1, 1, 1], "pad": [0, 1, 2]}
    n = up_and_down(c, conv, dims=3)
    return [c.coord_map_from_to(n.up, n.data)]


def pointwise(c: Any) -> list[Any]:
    n, L = plain(c), c.layers
    n.relu = L.ReLU(n.up, in_place=True)
    n.sum = L.Eltwise(n.relu, L.Scale(L.BatchNorm(n.up)))
    n.conv1x1 = L.Convolution(n.sum, num_output=10, kernel_size=1)
    pairs = [(n.relu, n.data), (n.conv1x1, n.data), (n.up, n.relu), (n.conv1x1, n.pool)]
    return [c.coord_map_from_to(*pair) for pair in pairs]


def several_tops(c: Any) -> list[Any]:
    n = plain(c)
    n.a, n.b = c.layers.Convolution(
        n.data, n.aux, ntop=2, num_output=10, kernel_size=5, stride=2, pad=0
    )
    pairs = [(n.a, n.data), (n.b, n.aux), (n.a, n.conv)]
    return [c.coord_map_from_to(*pair) for pair in pairs]


def crop_of_crop(c: Any) -> list[Any]:
    n, L = plain(c), c.layers
    n.cut = L.Crop(n.up, n.data, axis=2, offset=4)
    n.again = L.Crop(n.cut, n.aux, crop_param={"offset": [3, 5]})
    return [c.coord_map_from_to(top, n.data) for top in (n.cut, n.again)]


def pooled_branches(c: Any) -> list[Any]:
    """Where two ways meet below, as the skips of FCN-8s do."""
    n, L = c.NetSpec(), c.layers
    n.data = L.Input(shape={"dim": [1, 3, 64, 64]})
    n.conv1 = L.Convolution(n.data, num_output=4, kernel_size=3, pad=100)
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2)
    n.pool2 = L.Pooling(n.pool1, kernel_size=2, stride=2)
    n.score = L.Convolution(L.Im2col(n.pool2, kernel_size=3, stride=1, pad=1), kernel_size=1)
    n.up = L.Deconvolution(n.score, kernel_size=4, stride=2, bias_term=False)
    return [c.coord_map_from_to(n.up, n.pool1), c.coord_map_from_to(n.up, n.conv1)]


NETS = [
    *(both_ways, strides, padding, dilation, three_axes, pointwise, several_tops, crop_of_crop),
    pooled_branches,
]


@pytest.mark.pycaffe
@pytest.mark.parametrize("maps", NETS)
def test_maps_are_pycaffes(real: Any, maps: Callable[[Any], list[Any]]) -> None:
    for ours, theirs in zip(maps(OURS), maps(real), strict=True):
        assert ours[0] == theirs[0]
        np.testing.assert_array_equal(ours[1], theirs[1])
        np.testing.assert_array_equal(ours[2], theirs[2])


@pytest.mark.pycaffe
def test_maps_of_random_nets_are_pycaffes(real: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        size, stride, pad = rng.integers(1, 9, (3, 2)).tolist()
        pool, up, up_pad = rng.integers(1, 9, 3).tolist()
        conv = {"kernel_size": size, "stride": stride, "pad": pad}
        ours, theirs = (up_and_down(c, conv, pool, up, up_pad) for c in (OURS, real))
        axis, scale, shift = coord_map_from_to(ours.up, ours.data)
        expected = real.coord_map_from_to(theirs.up, theirs.data)
        assert axis == expected[0]
        np.testing.assert_allclose((scale, shift), expected[1:], rtol=1e-14)


@pytest.mark.pycaffe
def test_crops_are_pycaffes(real: Any) -> None:
    def net(c: Any) -> Any:
        n = up_and_down(c, {"kernel_size": 3}, pool=4, up=4)
        n.score = c.crop(n.up, n.data)
        uneven = up_and_down(c, {"kernel_size": [3, 3], "pad": [0, 1]}, pool=4, up=4)
        uneven.score = c.crop(uneven.up, uneven.data)
        return n.to_proto(), uneven.to_proto()

    for ours, theirs in zip(net(OURS), net(real), strict=True):
        assert ours.layer[-1].crop_param.offset
        assert ours.SerializeToString() == theirs.SerializeToString()


def unconnected(c: Any) -> Any:
    n = plain(c)
    return c.coord_map_from_to(c.layers.InnerProduct(n.up, num_output=10), n.data)


def other_source(c: Any) -> Any:
    n = plain(c)
    return c.coord_map_from_to(n.up, n.aux)


def what_a_crop_is_cropped_to(c: Any) -> Any:
    n = plain(c)
    return c.coord_map_from_to(c.layers.Crop(n.up, n.aux), n.aux)


def other_axes(c: Any) -> Any:
    n = plain(c)
    return c.coord_map_from_to(c.layers.Convolution(n.up, axis=2, kernel_size=1), n.data)


MISTAKES = {
    "unconnected": unconnected,
    "from another source": other_source,
    "only what it is cropped to": what_a_crop_is_cropped_to,
    "other axes": other_axes,
    "no map": lambda c: c.coord_map(c.layers.Flatten(c.layers.Data()).fn),
    "another scale": lambda c: c.crop(*_ends(up_and_down(c, {"kernel_size": 3}, pool=3))),
    "too small": lambda c: c.crop(*_ends(up_and_down(c, {"kernel_size": 3}, pad=10))),
    "between pixels": lambda c: c.crop(*_ends(up_and_down(c, {"kernel_size": 4, "pad": 1}))),
    "legacy sizes": lambda c: c.coord_map(
        c.layers.Convolution(c.layers.Data(), kernel_size=3, stride_h=3, stride_w=1).fn
    ),
}


def _ends(n: Any) -> tuple[Any, Any]:
    return n.up, n.data


@pytest.mark.pycaffe
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_raise_what_pycaffe_raises(real: Any, mistake: Callable[[Any], Any]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        mistake(real)
    with pytest.raises(DeepVisError, match=" ") as ours:
        mistake(OURS)
    assert theirs.typename in {base.__name__ for base in ours.type.__mro__}


def test_a_blob_is_cropped_to_one_at_the_same_place() -> None:
    """Real Caffe's crop fails here, although the offset is just 0."""
    data = layers.Input(shape={"dim": [1, 1, 9, 9]})
    cut = crop(layers.ReLU(data), data)
    assert cut.fn.params["crop_param"] == {"axis": 2, "offset": [0]}


def test_each_blob_is_visited_once() -> None:
    """Two ways for each of 60 blocks: taking every one, 2 to the 60th, would not end."""
    data = layers.Input(shape={"dim": [1, 1, 9, 9]})
    top: Top = data
    for _ in range(60):
        top = layers.Eltwise(top, layers.ReLU(top))
    assert coord_map_from_to(top, data) == (None, 1, 0)
