"""Nets written in Python, against real pycaffe's ``NetSpec``: the same text, the same errors."""

# ruff: noqa: C408  (parameters are written as users write them)

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from deepvis_caffe.caffe import net_spec
from deepvis_caffe.caffe.net_spec import NetSpec, NetSpecError, layers, params, to_proto
from deepvis_caffe.caffe.proto import caffe_pb2
from deepvis_caffe.errors import DeepVisError, UnknownNameError


@pytest.fixture
def real(caffe: Any) -> Any:
    from caffe import net_spec as module

    return module


def lenet(c: Any) -> Any:
    n, L, P = c.NetSpec(), c.layers, c.params
    n.data, n.label = L.DummyData(
        shape=[dict(dim=[50, 1, 28, 28]), dict(dim=[50, 1, 1, 1])],
        transform_param=dict(scale=1.0 / 255, mean_value=[1, 2]),
        ntop=2,
    )
    n.conv1 = L.Convolution(
        n.data,
        kernel_size=5,
        num_output=20,
        weight_filler=dict(type="xavier"),
        param=[dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)],
    )
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=500, weight_filler=dict(type="gaussian", std=0.1))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.norm1 = L.LRN(n.relu1, local_size=5, norm_region=P.LRN.WITHIN_CHANNEL)
    n.drop1 = L.Dropout(n.norm1, dropout_param=dict(dropout_ratio=0.5), in_place=True)
    n.ip2 = L.InnerProduct(n.drop1, num_output=10, bias_term=False)
    n.loss = L.SoftmaxWithLoss(
        n.ip2, n.label, loss_weight=[0.5], loss_param=dict(normalization=P.Loss.VALID)
    )
    n.accuracy = L.Accuracy(n.ip2, n.label, top_k=5, include=dict(phase=1, stage="deploy"))
    return n.to_proto()


def names_of_their_own(c: Any) -> Any:
    """Blobs without a name, in place and not; names that are no identifiers; a layer's own name."""
    n, L = c.NetSpec(), c.layers
    data = L.Data(source="a", batch_size=2, ntop=2)[0]
    first = L.Convolution(data, num_output=1, kernel_size=[1, 3], name="first")
    n["fire/relu"] = L.ReLU(L.BatchNorm(first, use_global_stats=True), in_place=True)
    n["fire/sum"] = L.Eltwise(n["fire/relu"], first, operation=c.params.Eltwise.MAX, coeff=[1, -1])
    n["out"] = L.InnerProduct(L.ReLU(n["fire/sum"], in_place=True), num_output=2)
    n.twice = n.out
    return n.to_proto()


def no_tops(c: Any) -> Any:
    n, L = c.NetSpec(), c.layers
    n.data, n.label, n.weight = L.Data(ntop=3)
    n.silence = L.Silence(n.label, ntop=0)
    n.slices_a, n.slices_b = L.Slice(n.data, slice_point=2, axis=1, ntop=2)
    setattr(n, "silence/more", L.Silence(L.Split(n.slices_a), n.weight, ntop=0))
    return n.to_proto()


def without_a_spec(c: Any) -> Any:
    L = c.layers
    data, label = L.HDF5Data(source="a", batch_size=4, ntop=2)
    hidden = L.TanH(L.InnerProduct(data, num_output=3))
    loss = L.EuclideanLoss(L.InnerProduct(hidden, num_output=1), label, loss_weight=2)
    return c.to_proto(loss, hidden, L.Silence(label, ntop=0).inputs[0])


def one_top(c: Any) -> Any:
    return c.layers.Python(module="m", layer="L", param_str="{'a': 1}", ntop=2)[1].to_proto()


def fields_of_the_layer(c: Any) -> Any:
    """Bottoms and tops by name, as converters write them, and rules and parameters as messages."""
    n, L = c.NetSpec(), c.layers
    n.data = L.Input(shape=dict(dim=[1, 3, 4, 4]), top="extra")
    n.x = L.Deconvolution(
        bottom=["data"],
        param=dict(name="w", lr_mult=0),
        convolution_param=dict(
            num_output=2, kernel_size=4, stride=[2, 2], bias_filler=dict(value=1), group=2
        ),
        exclude=[dict(phase=0), dict(not_stage=["a", "b"])],
        propagate_down=[True],
    )
    n.y = L.Reshape(n.x, shape=dict(dim=[0, -1]))
    n.z = L.Scale(n.y, bias_term=True, bias_filler={}, num_axes=-1)
    n.fused = L.Convolution(n.z, relu_param=dict(negative_slope=0.5))  # the layer's, not a fork's
    n.out = L.Crop(n.fused, n.data, offset=[1, 2])
    return n.to_proto()


def layers_of_ssd(c: Any) -> Any:
    n, L, P = c.NetSpec(), c.layers, c.params
    n.data = L.DummyData(shape=dict(dim=[1, 4, 8, 8]))
    n.norm = L.Normalize(n.data, scale_filler=dict(type="constant", value=20), across_spatial=False)
    n.perm = L.Permute(n.norm, order=[0, 2, 3, 1])
    n.prior = L.PriorBox(n.norm, n.data, min_size=30.0, aspect_ratio=[2, 3], variance=[0.1])
    n.out = L.DetectionOutput(
        n.perm,
        n.prior,
        detection_output_param=dict(
            num_classes=3, nms_param=dict(top_k=4), code_type=P.PriorBox.CENTER_SIZE
        ),
    )
    return n.to_proto()


@pytest.mark.pycaffe
@pytest.mark.parametrize(
    "build",
    [lenet, names_of_their_own, no_tops, without_a_spec, one_top, fields_of_the_layer],
)
def test_the_net_is_pycaffes(real: Any, build: Callable[[Any], Any]) -> None:
    net = build(net_spec)
    assert type(net) is caffe_pb2.NetParameter
    assert net.SerializeToString() == build(real).SerializeToString()


@pytest.mark.pycaffe
def test_a_net_of_a_forks_layers_is_pycaffes(real: Any) -> None:
    """By its text: where a fork's fields stand in it depends on their numbers, which differ."""
    ours, theirs = str(layers_of_ssd(net_spec)), str(layers_of_ssd(real))
    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())


def layer(**parameters: Any) -> Callable[[Any], Any]:
    return lambda c: c.layers.Convolution(**parameters).to_proto()


MISTAKES = {
    "a bottom that is a name": lambda c: c.layers.ReLU("data"),
    "a bottom that is several": lambda c: c.layers.ReLU(c.layers.Data(ntop=2)),
    "an unknown top": lambda c: c.NetSpec().conv1,
    "an unknown item": lambda c: c.NetSpec()["conv1"],
    "an unknown parameter": layer(kernel=3),
    "an unknown message": layer(konvolution_param=dict(num_output=3)),
    "an unknown field of a message": layer(convolution_param=dict(number=3)),
    "an unknown field of a filler": layer(weight_filler=dict(kind="xavier")),
    "an unknown enum": lambda c: c.params.Pool.MAX,
    "an unknown value of an enum": lambda c: c.params.Pooling.MAXIMUM,
    "words for a number": layer(num_output="three"),
    "a fraction for a number": layer(num_output=2.5),
    "a negative unsigned": layer(num_output=-1),
    "a list for a number": layer(num_output=[3]),
}


@pytest.mark.pycaffe
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_raise_what_pycaffe_raises(real: Any, mistake: Callable[[Any], Any]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        mistake(real)
    with pytest.raises(theirs.type):
        mistake(net_spec)


def test_mistakes_give_clear_errors() -> None:
    with pytest.raises(
        NetSpecError, match=r"Convolution1 .* no parameter 'kernel_sise'; did you .*"
    ):
        to_proto(layers.Convolution(kernel_sise=3))
    with pytest.raises(NetSpecError, match="FillerParameter has no field 'kind'"):
        to_proto(layers.Convolution(weight_filler={"kind": 1}))
    with pytest.raises(NetSpecError, match=r"ConvolutionParameter.num_output cannot be 'three'"):
        to_proto(layers.Convolution(num_output="three"))
    with pytest.raises(
        NetSpecError, match=r"^ReLU input 0 is not a Top \(type is <class .tuple.>\)$"
    ):
        layers.ReLU(layers.Data(ntop=2))
    n = NetSpec()
    n.conv1 = layers.Data(ntop=2)
    with pytest.raises(NetSpecError, match="conv1 of this NetSpec is a tuple"):
        n.to_proto()
    with pytest.raises(UnknownNameError, match=r"no top named 'conv2'.*did you mean 'conv1'"):
        n.conv2  # noqa: B018
    with pytest.raises(DeepVisError, match="Pool; did you mean 'Pooling'"):
        params.Pool.MAX  # noqa: B018
    assert not hasattr(n, "conv2")


@pytest.mark.pycaffe
def test_each_layer_type_has_its_message(real: Any) -> None:
    theirs = real.param_name_dict()
    del theirs["HardSigmoid"]  # two fields of forks; the engine reads both
    ours = net_spec.param_name_dict()
    assert {name: ours.get(name) for name in theirs} == theirs


@pytest.mark.pycaffe
def test_values_are_assigned_as_by_pycaffe(real: Any) -> None:
    """Scripts fill messages of any kind with ``assign_proto``."""

    def solver(c: Any) -> str:
        message = c.caffe_pb2.SolverParameter()
        values = dict(test_iter=5, stepvalue=[1, 2], net="a", train_state=dict(stage=["x"]))
        for name, value in values.items():
            c.assign_proto(message, name, value)
        return str(message)

    assert solver(net_spec) == solver(real)


@pytest.mark.pycaffe
def test_what_ssd_adds(real: Any) -> None:
    """Parameters changed later are those given at once; a deleted top is as one never named."""

    def net(c: Any, **more: Any) -> Any:
        n = c.NetSpec()
        n.data = c.layers.DummyData(shape=dict(dim=[1, 2]))
        n.fc = c.layers.InnerProduct(n.data, **{"num_output": 3, **more})
        return n

    expected = net(real, num_output=7, param=[dict(lr_mult=0)]).to_proto()
    n = net(net_spec)
    n.extra = layers.ReLU(n.fc)
    assert n.keys() == ["data", "fc", "extra"]
    assert n.vals() == [n.data, n.fc, n.extra]
    n.update("fc", dict(num_output=7, param=[dict(lr_mult=0)]))
    del n["extra"]
    assert n.to_proto().SerializeToString() == expected.SerializeToString()


def test_a_copy_is_a_net_of_its_own() -> None:
    n = NetSpec()
    n.data = layers.Input(shape={"dim": [1]})
    other = copy.deepcopy(n)
    assert other.to_proto() == n.to_proto()
    other.relu = layers.ReLU(other.data)
    assert list(n.tops) == ["data"]


def test_parameters_given_to_several_layers_stay_as_they_are() -> None:
    common = SimpleNamespace(params={"ntop": 2, "in_place": False, "batch_size": 3})
    before = dict(common.params)
    net_spec.Function("Data", (), common.params)
    assert common.params == before
