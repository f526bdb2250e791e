"""The messages of package ``caffe`` against real Caffe's own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, text_format

from deepvis_caffe.caffe.proto import caffe_pb2
from deepvis_caffe.model import schema_pb2
from deepvis_caffe.model.fork_types import FIRST_FORK_NUMBER
from deepvis_caffe.resources import resource

# Fields that the release tested against has, or declares, in its own way.
ITS_OWN = {"ConvolutionParameter.stride_h", "ConvolutionParameter.stride_w"}


@pytest.fixture
def real(caffe: Any) -> Any:
    from caffe.proto import caffe_pb2 as module

    return module


def fields(module: Any) -> dict[str, Any]:
    """Fields by ``Message.field``, as the module declares them."""
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return {f"{m.name}.{f.name}": f for m in file.message_type for f in m.field}


@pytest.mark.pycaffe
def test_fields_are_declared_as_in_caffe(real: Any) -> None:
    assert caffe_pb2.DESCRIPTOR.name == real.DESCRIPTOR.name
    theirs, ours = fields(real), fields(caffe_pb2)
    shared = {
        name: field
        for name, field in ours.items()
        if name in theirs and field.number < FIRST_FORK_NUMBER and name not in ITS_OWN
    }
    known = {"BlobProto.data", "LayerParameter.convolution_param", "Datum.label", "LabelMap.item"}
    assert known <= shared.keys()
    assert shared == {name: theirs[name] for name in shared}


@pytest.mark.pycaffe
def test_the_module_has_the_names_of_caffes(real: Any) -> None:
    """Classes, enums and constants, with the constants' values."""
    theirs = {name for name in vars(real) if not name.startswith("_")}
    assert theirs - vars(caffe_pb2).keys() == {"OldResizeParameter", "ReLU6Parameter"}  # its own
    assert (caffe_pb2.TRAIN, caffe_pb2.TEST) == (real.TRAIN, real.TEST)
    assert caffe_pb2.Phase.items() == real.Phase.items()
    types = caffe_pb2.V1LayerParameter.LayerType
    for name, number in real.V1LayerParameter.LayerType.items():
        assert (types.Value(name), getattr(caffe_pb2.V1LayerParameter, name)) == (number, number)
    for name, message in real.DESCRIPTOR.message_types_by_name.items():
        if name not in {"BNParameter", "OldResizeParameter"}:  # with enums of its own
            for value in (value for enum in message.enum_types for value in enum.values):
                assert getattr(getattr(caffe_pb2, name), value.name) == value.number


def filled(module: Any) -> list[Any]:
    """Messages of every kind that files hold."""
    net = module.NetParameter(name="net", input=["data"], input_dim=[1, 3, 8, 8])
    net.input_shape.add(dim=[1, 3, 8, 8])
    layer = net.layer.add(name="conv", type="Convolution", bottom=["data"], top=["conv"], phase=1)
    layer.convolution_param.kernel_size.extend([3, 5])
    layer.convolution_param.weight_filler.type = "xavier"
    layer.param.add(name="shared", lr_mult=0.1)
    layer.include.add(phase=module.TEST, stage=["deploy"])
    blob = layer.blobs.add(data=[0.1, -2.0, 3e20])
    blob.shape.dim.extend([1, 3])
    layer.blobs.add(double_data=[0.1, 7.0], double_diff=[1.0], num=1, channels=2)
    old = net.layers.add(name="old", type=module.V1LayerParameter.LRN, blobs_lr=[1, 2])
    old.lrn_param.norm_region = module.LRNParameter.WITHIN_CHANNEL
    old.layer.name = "older"
    old.blob_share_mode.append(module.V1LayerParameter.PERMISSIVE)
    solver = module.SolverParameter(net="a", test_iter=[3], random_seed=-5)
    solver.solver_mode = module.SolverParameter.CPU
    solver.net_param.CopyFrom(net)
    state = module.SolverState(iter=7, learned_net="w", history=[blob])
    datum = module.Datum(channels=3, height=1, width=2, data=b"\x00\xff", label=-3)
    annotated = module.AnnotatedDatum(datum=datum, type=module.AnnotatedDatum.BBOX)
    group = annotated.annotation_group.add(group_label=5)
    group.annotation.add(instance_id=2).bbox.xmin = 0.25
    labels = module.LabelMap()
    labels.item.add(name="n1", label=1, display_name="cat")
    vector = module.BlobProtoVector(blobs=[blob])
    return [net, solver, state, datum, annotated, labels, vector]


@pytest.mark.pycaffe
def test_files_of_either_are_read_by_the_other(real: Any) -> None:
    for ours, theirs in zip(filled(caffe_pb2), filled(real), strict=True):
        name = theirs.DESCRIPTOR.full_name
        assert ours.DESCRIPTOR.full_name == name
        data = theirs.SerializeToString()
        assert ours.SerializeToString() == data, name
        assert type(ours).FromString(data) == ours
        assert type(theirs).FromString(data) == theirs
        text = text_format.MessageToString(theirs)
        assert text_format.MessageToString(ours) == text, name
        assert text_format.Parse(text, type(ours)()) == ours


@pytest.mark.pycaffe
def test_what_a_fork_wrote_in_binary_survives(real: Any) -> None:
    net = real.NetParameter()
    net.layer.add(type="PriorBox").prior_box_param.min_size.append(60.5)
    ours = caffe_pb2.NetParameter.FromString(net.SerializeToString())
    assert real.NetParameter.FromString(ours.SerializeToString()) == net


@pytest.mark.pycaffe
@pytest.mark.parametrize("name", ["bvlc_reference_caffenet", "bvlc_googlenet", "lrcn"])
def test_a_prototxt_means_the_same(real: Any, name: str) -> None:
    text = resource("prototxt", f"{name}.prototxt").read_text(encoding="utf-8")
    ours, theirs = caffe_pb2.NetParameter(), real.NetParameter()
    text_format.Merge(text, ours)
    text_format.Merge(text, theirs)
    assert str(ours) == str(theirs)
    assert ours.SerializeToString() == theirs.SerializeToString()


def test_fork_fields_are_read_from_text() -> None:
    text = 'layer { type: "Normalize" norm_param { across_spatial: false } }'
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    assert not net.layer[0].norm_param.across_spatial
    assert text_format.MessageToString(net, as_one_line=True) == text
    solver = text_format.Parse('eval_type: "detection"', caffe_pb2.SolverParameter())
    assert solver.eval_type == "detection"


def test_messages_can_be_copied_and_pickled() -> None:
    for message in filled(caffe_pb2):
        for other in (copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
            assert other == message
            assert type(other) is type(message)


def test_messages_are_of_this_module() -> None:
    """Not those of the schema, and the same wherever they come from."""
    layer = caffe_pb2.NetParameter().layer.add()
    assert type(layer) is caffe_pb2.LayerParameter
    assert type(layer.pooling_param) is caffe_pb2.PoolingParameter
    assert caffe_pb2.PoolingParameter.__module__ == caffe_pb2.__name__
    assert caffe_pb2.NetParameter.DESCRIPTOR.full_name == "caffe.NetParameter"
    assert schema_pb2.NetParameter.DESCRIPTOR.full_name == "deepvis_caffe.NetParameter"
    with pytest.raises(TypeError):
        layer.CopyFrom(schema_pb2.LayerParameter())
