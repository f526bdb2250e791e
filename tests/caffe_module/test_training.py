"""Phase TRAIN and data layers: as in real Caffe, except for random values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.caffe_pair import Pair, net_of

import deepvis_caffe.caffe as ours
from deepvis_caffe.errors import EngineError, ModelError

RNG = np.random.RandomState(3)


def image_net(*layers: str, shape: str = "dim: 3 dim: 4 dim: 5 dim: 2") -> str:
    first = f'layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {shape} }} }} }}'
    return "\n".join(["force_backward: true", first, *layers])


TRAINED = """
layer { name: "in" type: "Input" top: "x" top: "t" input_param {
  shape { dim: 4 dim: 1 dim: 8 dim: 8 } shape { dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 5 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "side" type: "HingeLoss" bottom: "fc" bottom: "t" top: "side" loss_weight: 0.3 }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "t" top: "loss" }
layer { name: "right" type: "Accuracy" bottom: "fc" bottom: "t" top: "right" }
"""


def test_a_script_that_trains_by_itself(caffe: Any, tmp_path: Path) -> None:
    """Small differences would grow from step to step."""
    nets = Pair(caffe, tmp_path, TRAINED, "TRAIN")
    rng = np.random.RandomState(5)
    labels = np.array([0, 2, 1, 1])

    def step(net: Any) -> float:
        net.clear_param_diffs()
        loss = net._forward(0, len(net.layers) - 1)
        net.backward()
        for name, blobs in net.params.items():
            for blob in blobs if name != "bn" else ():
                blob.data[...] -= 0.05 * blob.diff
        return float(loss)

    losses = []
    for _ in range(8):
        images = rng.normal(size=(4, 1, 8, 8)) + labels[:, None, None, None]
        nets.put({"x": images, "t": labels})
        theirs, mine = nets.do(step)
        assert mine == pytest.approx(theirs, rel=1e-4)
        losses.append(mine)
    nets.check()
    assert losses[-1] < losses[0]


# -- BatchNorm -------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("said", ["", "use_global_stats: true", "use_global_stats: false"])
@pytest.mark.parametrize("top", ["y", "x"])
def test_batch_norm(caffe: Any, tmp_path: Path, phase: str, said: str, top: str) -> None:
    """Its averages move with each forward pass, and its gradient is that of the last one."""
    nets = Pair(
        caffe,
        tmp_path,
        image_net(
            f'layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "{top}" '
            f"batch_norm_param {{ {said} moving_average_fraction: 0.9 eps: 0.01 }} }}"
        ),
        phase,
    )

    def prepare(net: Any) -> None:
        for i, values in enumerate(([3, 1, 4, 1], [5, 9, 2, 6], [2])):
            net.params["bn"][i].data[...] = values

    nets.do(prepare)
    for scale in (1, 3):
        nets.put({"x": scale * RNG.normal(size=(3, 4, 5, 2)) + 1})
        nets.do(lambda net: net.forward())
        nets.check()
    diff = RNG.normal(size=(3, 4, 5, 2))

    def change(net: Any) -> None:
        net.blobs[top].diff[...] = diff
        net.blobs["x"].data[...] *= 2
        net.params["bn"][1].data[...] *= 3

    nets.do(change)
    nets.do(lambda net: net.backward())
    nets.check()
    nets.do(lambda net: net.forward())
    nets.check()


def test_batch_norm_of_vectors(caffe: Any, tmp_path: Path) -> None:
    layer = 'layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" }'
    nets = Pair(caffe, tmp_path, image_net(layer, shape="dim: 6 dim: 3"), "TRAIN")
    nets.put({"x": RNG.normal(size=(6, 3))})
    nets.do(lambda net: net.forward())
    nets.do(lambda net: net.backward(y=np.arange(18).reshape(6, 3)))
    nets.check()


def test_a_layer_has_a_phase_of_its_own(caffe: Any, tmp_path: Path) -> None:
    layer = 'layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" phase: TRAIN }'
    nets = Pair(caffe, tmp_path, image_net(layer), "TEST")
    nets.put({"x": RNG.normal(size=(3, 4, 5, 2))})
    nets.do(lambda net: net.forward())
    nets.check()


# -- Dropout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["y", "x"])
def test_dropout_in_training(tmp_path: Path, top: str) -> None:
    """A value is 0 or grows by 1 / (1 - ratio), and its diff by the same factor."""
    layer = (
        f'layer {{ name: "drop" type: "Dropout" bottom: "x" top: "{top}" '
        "dropout_param { dropout_ratio: 0.8 } }"
    )
    net = net_of(image_net(layer, shape="dim: 100 dim: 100"), tmp_path, ours.TRAIN)
    ours.set_random_seed(1)
    net.blobs["x"].data[...] = 1
    net.forward()
    first = net.blobs[top].data.copy()
    net.blobs[top].diff[...] = 2
    net.backward()
    np.testing.assert_array_equal(net.blobs["x"].diff, 2 * first)
    assert np.unique(first).tolist() == pytest.approx([0, 5])
    assert first.mean() == pytest.approx(1, abs=5 * 0.02)  # five standard errors

    net.blobs["x"].data[...] = 1
    net.forward()
    assert (net.blobs[top].data != first).any()
    ours.set_random_seed(1)
    net.blobs["x"].data[...] = 1
    net.forward()
    np.testing.assert_array_equal(net.blobs[top].data, first)


def test_dropout_that_scales_in_phase_test(tmp_path: Path) -> None:
    """As in py-faster-rcnn's Caffe: what is kept in training is not scaled, so that TEST is."""
    layer = (
        'layer { name: "drop" type: "Dropout" bottom: "x" top: "y" '
        "dropout_param { dropout_ratio: 0.2 scale_train: false } }"
    )
    seen = []
    for phase in (ours.TRAIN, ours.TEST):
        net = net_of(image_net(layer, shape="dim: 100 dim: 100"), tmp_path, phase)
        net.blobs["x"].data[...] = 1
        seen.append(net.forward()["y"].copy())
    assert np.unique(seen[0]).tolist() == [0, 1]
    assert seen[0].mean() == pytest.approx(0.8, abs=5 * 0.004)
    np.testing.assert_allclose(seen[1], 0.8, 1e-6)


@pytest.mark.parametrize("top", ["y", "x"])
def test_dropout_in_phase_test(caffe: Any, tmp_path: Path, top: str) -> None:
    layer = f'layer {{ name: "drop" type: "Dropout" bottom: "x" top: "{top}" }}'
    nets = Pair(caffe, tmp_path, image_net(layer, shape="dim: 3 dim: 2"))
    nets.put({"x": RNG.normal(size=(3, 2))})
    nets.do(lambda net: net.forward())
    nets.do(lambda net: net.backward(**{top: np.ones((3, 2))}))
    nets.check()


# -- data ------------------------------------------------------------------------------------------


def test_dummy_data(caffe: Any, tmp_path: Path) -> None:
    """Constants are set once: what a script writes over them stays. Random values are drawn."""
    text = """
layer { name: "dummy" type: "DummyData" top: "a" top: "b" dummy_data_param {
  shape { dim: 2 dim: 3 } data_filler { type: "constant" value: 7 }
  data_filler { type: "uniform" min: 5 max: 6 } } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "c" }
"""
    nets = Pair(caffe, tmp_path, text)
    assert nets.ours.blobs["a"].data.tolist() == nets.real.blobs["a"].data.tolist() == [[7] * 3] * 2
    seen = []
    for _ in range(2):
        nets.put({"a": 2})
        nets.do(lambda net: net.forward())
        for net in (nets.real, nets.ours):
            assert (net.blobs["a"].data == 2).all()
            drawn = net.blobs["b"].data.copy()
            assert drawn.min() >= 5
            assert drawn.max() <= 6
            np.testing.assert_allclose(net.blobs["c"].data, 2 + drawn, 1e-6)
            seen.append(drawn)
    assert len(np.unique(seen)) == 4 * 6

    def reshape(net: Any) -> None:
        net.blobs["a"].reshape(4, 2)
        net.blobs["b"].reshape(4, 2)
        net.forward()

    nets.do(reshape)
    assert nets.ours.blobs["c"].shape == tuple(nets.real.blobs["c"].shape) == (4, 2)


MEMORY = """
layer { name: "memory" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 2 channels: 3 height: 1 width: 2 } }
layer { name: "twice" type: "Power" bottom: "data" top: "twice" power_param { scale: 2 } }
"""


@pytest.mark.parametrize("flat", [False, True])
def test_memory_data(caffe: Any, tmp_path: Path, flat: bool) -> None:
    """Batches follow each other, round and round, in the script's own arrays."""
    nets = Pair(caffe, tmp_path, MEMORY)
    nets.check()
    data = RNG.normal(size=(6, 3, 1, 2)).astype(np.float32)
    labels = np.arange(6, dtype=np.float32).reshape((6,) if flat else (6, 1, 1, 1))
    nets.do(lambda net: net.set_input_arrays(data, labels))
    for _ in range(4):
        nets.do(lambda net: net.forward())
        nets.check()
    data += 1
    nets.do(lambda net: net.forward())
    nets.check()


REFUSED = {
    "float64": (np.zeros((2, 3, 1, 2)), np.zeros(2, np.float32)),
    "transposed": (np.zeros((3, 2, 1, 2), np.float32).swapaxes(0, 1), np.zeros(2, np.float32)),
    "3-d": (np.zeros((2, 3, 2), np.float32), np.zeros(2, np.float32)),
    "channels": (np.zeros((2, 4, 1, 2), np.float32), np.zeros(2, np.float32)),
    "height": (np.zeros((2, 3, 2, 2), np.float32), np.zeros(2, np.float32)),
    "labels": (np.zeros((2, 3, 1, 2), np.float32), np.zeros((2, 2, 1, 1), np.float32)),
    "counts": (np.zeros((4, 3, 1, 2), np.float32), np.zeros(2, np.float32)),
    "batches": (np.zeros((3, 3, 1, 2), np.float32), np.zeros(3, np.float32)),
}


@pytest.mark.parametrize("why", REFUSED)
def test_arrays_that_memory_data_refuses(caffe: Any, tmp_path: Path, why: str) -> None:
    nets = Pair(caffe, tmp_path, MEMORY)
    with pytest.raises(RuntimeError) as theirs:
        nets.real.set_input_arrays(*REFUSED[why])
    with pytest.raises(RuntimeError) as mine:
        nets.ours.set_input_arrays(*REFUSED[why])
    assert str(theirs.value).split()[0] == str(mine.value).split()[0]  # the same array


def test_memory_data_without_data(tmp_path: Path) -> None:
    net = net_of(MEMORY, tmp_path)
    with pytest.raises(EngineError, match=r"'memory' \(MemoryData\) has no data; call net.set_inp"):
        net.forward()
    other = net_of(image_net(), tmp_path)
    with pytest.raises(RuntimeError, match="first layer is a MemoryData layer; it is 'in'"):
        other.set_input_arrays(np.zeros(1), np.zeros(1))


def test_hdf5_data(caffe: Any, tmp_path: Path) -> None:
    """Rows of all files in turn, whatever the batch size, and then the first ones again."""
    sizes = (5, 2, 4)
    for i, size in enumerate(sizes):
        with h5py.File(tmp_path / f"{i}.h5", "w") as file:
            file["data"] = RNG.normal(size=(size, 2, 3))
            file["label"] = 10 * i + np.arange(size, dtype=np.float32)
    listed = tmp_path / "files.txt"
    listed.write_text("\n".join(str(tmp_path / f"{i}.h5") for i in range(len(sizes))))
    text = """
layer { name: "read" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "%s" batch_size: 3 } }
layer { name: "twice" type: "Power" bottom: "data" top: "twice" power_param { scale: 2 } }
"""
    nets = Pair(caffe, tmp_path, text % listed)
    for _ in range(9):
        nets.do(lambda net: net.forward())
        nets.check()


def test_shuffled_hdf5_data(tmp_path: Path) -> None:
    """Each pass has all rows once, in orders of its own."""
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["data"] = np.arange(40)
    (tmp_path / "files.txt").write_text(str(tmp_path / "0.h5"))
    net = net_of(
        'layer { name: "read" type: "HDF5Data" top: "data" hdf5_data_param { '
        f'source: "{tmp_path}/files.txt" batch_size: 40 shuffle: true }} }}',
        tmp_path,
    )
    orders = [tuple(net.forward()["data"]) for _ in range(3)]
    assert len(set(orders)) == 3
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(40))}


def test_hdf5_data_that_is_not_there(tmp_path: Path) -> None:
    text = 'layer { name: "read" type: "HDF5Data" top: "x" hdf5_data_param { source: "%s" } }'
    with pytest.raises(ModelError, match=r"'read' \(HDF5Data\): cannot read its list of files"):
        net_of(text % (tmp_path / "none.txt"), tmp_path)
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["data"] = np.arange(40)
    (tmp_path / "files.txt").write_text(str(tmp_path / "0.h5"))
    text = text.replace('"%s"', f'"{tmp_path}/files.txt" batch_size: 2')
    with pytest.raises(ModelError, match="no dataset 'x', the name of its top; it has data"):
        net_of(text, tmp_path)


@pytest.mark.parametrize("kind", ["Data", "ImageData", "WindowData"])
def test_data_that_nothing_here_reads(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ModelError) as caught:
        net_of(f'layer {{ name: "d" type: "{kind}" top: "image" top: "label" }}', tmp_path)
    assert f"layer 'd' ({kind}) reads data by itself" in str(caught.value)
    assert 'type: "Input" top: "image"' in str(caught.value)


def test_stochastic_pooling_is_refused(tmp_path: Path) -> None:
    layer = (
        'layer { name: "p" type: "Pooling" bottom: "x" top: "y" '
        "pooling_param { pool: STOCHASTIC kernel_size: 2 } }"
    )
    with pytest.raises(ModelError, match="STOCHASTIC pooling is random"):
        net_of(image_net(layer), tmp_path, ours.TRAIN)
