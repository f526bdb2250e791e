"""Whole programs in real pycaffe and in ours, each in its own process: both compute the same."""

from __future__ import annotations

import pytest
from helpers.caffe_programs import program
from helpers.drawn_nets import nets
from helpers.drawn_programs import Writer
from helpers.engine_nets import conv, layer, net_text, relu
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.pycaffe, pytest.mark.process]

FORCED = "\nforce_backward: true"

CHAIN = net_text(
    conv("conv1", "data", 4, 3),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    conv("conv2", "pool1", 3, 2),
    relu("relu2", "conv2"),
    layer("fc", "InnerProduct", "conv2", "", "inner_product_param { num_output: 5 }"),
    layer("prob", "Softmax", "fc"),
    data=(2, 3, 8, 8),
)
BRANCHES = net_text(
    conv("mid", "data", 2),
    conv("left", "mid", 2),
    conv("right", "mid", 2),
    layer("sum", "Eltwise", "left right"),
    layer("flat", "Flatten", "sum"),
    data=(1, 2, 3, 3),
)
CLASSIFIER = net_text(
    conv("conv", "data", 2, 2),
    relu("relu", "conv"),
    layer("fc", "InnerProduct", "conv", "", "inner_product_param { num_output: 4 }"),
    layer("loss", "SoftmaxWithLoss", "fc label", "", "loss_weight: 2"),
    data=(3, 1, 4, 4),
    label=(3,),
)

MAKE = "net = caffe.Net('net.prototxt', caffe.TEST)"
FILL = "net.blobs['data'].data[...] = like(net.blobs['data'], seed=2)"
START = (MAKE, "randomize(net, seed=1)", FILL)
LABEL = "net.blobs['label'].data[...] = [3, 0, 2]"


@pytest.mark.slow
@settings(
    deadline=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_drawn_programs(both, data):
    net = data.draw(nets())
    made = program(f"net = caffe.Net('net.prototxt', caffe.{net.phase})", net=net.text)
    facts = both.real.run(made)
    assume(facts)
    assume(both.check(Writer(data.draw, net, facts[0]).write()))


# -- arrays --------------------------------------------------------------------------------------


def test_each_access_is_a_new_array_over_the_same_memory(check):
    check(
        CHAIN,
        *START,
        "net.blobs['data'].data is net.blobs['data'].data",
        "np.shares_memory(net.blobs['data'].data, net.blobs['data'].data)",
        "net.blobs['data'] is net.blobs['data']",
        "net.blobs is net.blobs",
        "net.params is net.params",
        "net.params['conv1'][0].data.flags['C_CONTIGUOUS']",
        "net.blobs['conv1'].data.flags['WRITEABLE']",
        "net.forward()",
        "net.blobs['prob'].data.flags['C_CONTIGUOUS']",
    )


def test_writing_casts_and_broadcasts(check):
    check(
        CHAIN,
        *START,
        "net.blobs['data'].data[...] = np.arange(8)",
        "net.blobs['data'].data[1] = np.float64(1e-3)",
        "net.blobs['data'].diff[:, 1] = [[1]]",
        "net.blobs['data'].data[0] = np.arange(9)",
    )


def test_data_and_diff_cannot_be_replaced(check):
    check(
        CHAIN,
        *START,
        "net.blobs['data'].data = noise(2, 3, 8, 8)",
        "net.blobs['data'].diff = 0",
        "net.params['conv1'][0].data = 0",
    )


def test_the_next_forward_overwrites_what_forward_returned(check):
    check(
        CHAIN,
        *START,
        "out = net.forward()",
        "kept = out['prob'].copy()",
        "net.forward(data=noise(2, 3, 8, 8, seed=5))",
        "np.array_equal(out['prob'], kept)",
    )


def test_a_kept_view_shows_each_new_pass(check):
    check(
        CHAIN + FORCED,
        *START,
        "conv1 = net.blobs['conv1'].data",
        "row = net.blobs['conv2'].data[0, 1]",
        "gradient = net.blobs['data'].diff[1]",
        "weights = net.params['conv1'][0].data",
        "net.forward()",
        "net.backward(prob=noise(2, 5, seed=3))",
        "net.blobs['data'].data[...] *= 2",
        "weights *= 0.5",
        "net.forward(end='relu1')",
        "conv1 -= 1",
        "net.forward(start='pool1')",
        "net.backward(start='conv2')",
    )


def test_scripts_compute_into_views(check):
    check(
        CHAIN + FORCED,
        *START,
        "from scipy.linalg import blas",
        "from scipy.ndimage import gaussian_filter",
        "net.forward()",
        "gradient = net.blobs['conv2'].diff",
        "gradient += 1",
        "blas.saxpy(noise(gradient.size, seed=4), gradient.reshape(-1), a=0.5) is None",
        "net.backward(start='conv2')",
        "image = net.blobs['data'].data[0]",
        "gaussian_filter(image[1], 1, output=image[1]) is None",
        "np.clip(image, -1, 1, out=image) is None",
        "net.forward()",
    )


# -- forward -------------------------------------------------------------------------------------


def test_written_parameters_act_at_the_next_forward(check):
    check(
        CHAIN,
        *START,
        "net.forward()",
        "net.params['conv1'][0].data[...] *= -1",
        "net.params['conv1'][1].data[2] = 1",
        "net.forward(start='conv2')",
        "net.forward()",
        "net.layers[1].blobs[0].data[0] = 0",
        "net.forward()",
    )


def test_end_leaves_the_value_below_the_relu_that_works_in_place(check):
    check(
        CHAIN,
        *START,
        "net.forward(end='conv1')",
        "net.forward(end='relu1')",
        "net.forward(end='conv1', blobs=['data', 'prob'])",
        "net.forward(start='conv1', end='pool1')",
        "net.forward(start='pool1', end='conv1')",
    )


def test_start_takes_what_its_bottoms_hold(check):
    check(
        CHAIN,
        *START,
        "net.forward(start='conv2')",
        "net.blobs['pool1'].data[...] = like(net.blobs['pool1'], seed=7)",
        "net.forward(start='conv2')",
        "net.forward(start='relu2')",
        "net.blobs['fc'].data[...] = 0",
        "net.forward(start='prob')",
    )


def test_arrays_for_inputs(check):
    check(
        CLASSIFIER.replace("SoftmaxWithLoss", "Silence")
        .replace('top: "loss"', "")
        .replace("loss_weight: 2", ""),
        *START,
        "net.forward(data=noise(3, 1, 4, 4, seed=1), label=np.array([1, 2, 3]))",
        "net.forward(data=noise(3, 1, 1, 4, seed=1), label=np.zeros(3))",
        "net.forward(data=noise(3, 1, 4, 4, seed=2))",
        "net.forward(wrong=noise(3, 1, 4, 4, seed=2))",
        "net.forward(data=noise(2, 1, 4, 4, seed=1), label=np.zeros(2))",
        "net.forward(data=noise(3, 1, 4, 9, seed=1), label=np.zeros(3))",
        "net.forward(['conv'], data=noise(3, 1, 4, 4, seed=6), label=np.zeros(3))",
    )


def test_blobs_to_return(check):
    check(
        CHAIN,
        *START,
        "net.forward(['conv1', 'data'])",
        "net.forward(blobs=['fc'], end='conv1')",
        "net.forward(blobs=['nothing'])",
        "net.forward(end='nothing')",
        "net.forward(start='pool2')",
    )


def test_forward_all_copies_and_fills_up_the_last_batch(check):
    check(
        CHAIN + FORCED,
        *START,
        "out = net.forward_all(data=noise(5, 3, 8, 8, seed=1))",
        "net.forward_all(blobs=['conv2'], data=noise(4, 3, 8, 8, seed=2))",
        "net.forward_backward_all(blobs=['fc'], diffs=['conv2'], data=noise(5, 3, 8, 8, seed=3), "
        "prob=noise(5, 5, seed=4))",
        "net.blobs['data'].data[...] = 0",
    )


def test_max_pooling_passes_over_nan(check):
    text = net_text(
        layer("pool", "Pooling", "data", "", "pooling_param { kernel_size: 2 stride: 2 }"),
        data=(1, 1, 4, 4),
    )
    check(
        text + FORCED,
        *START,
        "net.blobs['data'].data[0, 0, :2, 1] = np.nan",
        "net.blobs['data'].data[0, 0, 3] = -np.inf",
        "net.blobs['data'].data[0, 0, 0, 3] = np.inf",
        "net.forward()",
        "net.backward(pool=noise(1, 1, 2, 2, seed=3))",
    )


def test_nan_and_infinity_pass_through(check):
    text = net_text(
        conv("conv", "data", 2, 3),
        layer("act", "Sigmoid", "conv"),
        layer("fc", "InnerProduct", "conv", "", "inner_product_param { num_output: 3 }"),
        layer("prob", "Softmax", "fc"),
        data=(2, 2, 6, 6),
    )
    check(
        text + FORCED,
        *START,
        "net.blobs['data'].data[0, 0, 0, 0] = np.nan",
        "net.blobs['data'].data[1, 0, 5, 5] = np.inf",
        "net.forward()",
        "net.blobs['fc'].diff[0] = np.inf",
        "net.blobs['fc'].diff[1, 1] = np.nan",
        "net.backward(start='fc')",
    )


# -- backward ------------------------------------------------------------------------------------


def test_backward_begins_at_a_layer_with_the_diffs_of_its_tops(check):
    check(
        BRANCHES + FORCED,
        *START,
        "net.forward()",
        "net.blobs['sum'].diff[0, 1, 1, 1] = 1",
        "net.backward(start='sum')",
        "net.blobs['right'].diff[...] = 0",
        "net.backward(start='right')",
        "net.backward(start='mid_mid_0_split_0')",
        "net.backward(start='mid_mid_0_split')",
        "net.backward(end='mid_mid_0_split')",
    )


def test_a_relu_in_place_overwrites_its_own_diff(check):
    check(
        CHAIN + FORCED,
        *START,
        "net.forward()",
        "net.blobs['conv2'].diff[...] = like(net.blobs['conv2'], seed=3)",
        "net.backward(start='relu2', end='relu2')",
        "net.backward(start='relu2', end='conv2')",
    )


def test_parameter_diffs_add_up_and_blob_diffs_do_not(check):
    check(
        CHAIN + FORCED,
        *START,
        "net.forward()",
        "net.backward(prob=noise(2, 5, seed=3))",
        "net.backward()",
        "net.forward()",
        "net.backward(prob=noise(2, 5, seed=4))",
        "net.params['fc'][0].diff[...] = 1",
        "net.backward()",
        "net.clear_param_diffs()",
        "net.backward()",
    )


def test_an_old_diff_of_the_sibling_leaks_into_a_later_pass(check):
    check(
        BRANCHES + FORCED,
        *START,
        "net.forward()",
        "net.blobs['flat'].diff[...] = 1",
        "net.backward()",
        "net.blobs['left'].diff[...] = 0",
        "net.blobs['left'].diff[0, 0] = 5",
        "net.backward(start='left')",
        "net.backward(start='left', end='left')",
        "net.backward(start='mid_mid_0_split')",
    )


def test_forward_returns_tops_of_the_end_and_backward_its_bottoms(check):
    check(
        BRANCHES + FORCED,
        *START,
        "net.forward(end='sum')",
        "net.backward(start='sum', end='sum')",
        "net.backward(end='left', diffs=['mid'])",
        "net.backward(diffs=['nothing'])",
        "net.backward(end='nothing')",
    )


def test_diffs_for_outputs(check):
    check(
        CHAIN + FORCED,
        *START,
        "net.forward()",
        "net.backward(prob=noise(2, 5, seed=1))",
        "net.backward(fc=noise(2, 5, seed=1))",
        "net.backward(prob=noise(3, 5, seed=1))",
        "net.backward(['conv2'], prob=noise(2, 5, seed=1))",
    )


def test_without_force_backward_and_loss_all_diffs_stay_zero(check):
    check(
        CHAIN,
        *START,
        "net.forward()",
        "net.backward(prob=noise(2, 5, seed=1))",
        "net.backward(start='conv2')",
    )


def test_backward_reads_the_parameters_as_they_now_are(check):
    check(
        CHAIN + FORCED,
        *START,
        "net.forward()",
        "net.params['conv2'][0].data[...] *= -1",
        "net.backward(prob=noise(2, 5, seed=1))",
        "net.params['fc'][0].data[net.params['fc'][0].data < 0] = 0",
        "net.backward(start='fc')",
    )


def test_the_mask_of_a_relu_follows_the_data(check):
    check(
        CHAIN + FORCED,
        *START,
        "net.forward()",
        "net.blobs['conv2'].diff[...] = 1",
        "net.blobs['conv2'].data[...] = like(net.blobs['conv2'], seed=8)",
        "net.backward(start='relu2', end='relu2')",
    )


def test_the_switches_of_a_max_pooling_stay_those_of_forward(check):
    check(
        CHAIN + FORCED,
        *START,
        "net.forward()",
        "net.blobs['pool1'].diff[...] = like(net.blobs['pool1'], seed=8)",
        "net.blobs['conv1'].data[...] = like(net.blobs['conv1'], seed=9)",
        "net.backward(start='pool1', end='pool1')",
        "net.forward(end='conv1')",
        "net.backward(start='pool1', end='pool1')",
    )


IN_PLACE = (
    layer("a", "Sigmoid", "data", "a"),
    layer("b", "Power", "a", "a", "power_param { power: 2 scale: 0.5 shift: 1 }"),
    layer("c", "Scale", "a", "a", "scale_param { bias_term: true }"),
    layer("d", "BatchNorm", "a", "a"),
    layer("e", "TanH", "a", "a"),
    layer("f", "PReLU", "a", "a"),
    layer("g", "Exp", "a", "a", "exp_param { scale: 0.5 }"),
    layer("h", "Bias", "a", "a"),
    layer("i", "ELU", "a", "a"),
    layer("j", "Softmax", "a", "a"),
    layer("k", "Dropout", "a", "a"),
)


def test_layers_in_place_read_what_others_have_overwritten(check):
    check(
        net_text(*IN_PLACE, data=(2, 3, 4, 4)) + FORCED,
        *START,
        "net.forward()",
        "net.backward(a=noise(2, 3, 4, 4, seed=4))",
        "net.blobs['a'].data[...] *= 0.5",
        "net.backward(a=noise(2, 3, 4, 4, seed=5))",
        "net.backward(start='e', end='c')",
    )


@pytest.mark.parametrize("kind", ["TRAIN", "TEST"])
def test_batch_normalization_in_each_phase(check, kind):
    text = net_text(
        layer("norm", "BatchNorm", "data", "norm", "batch_norm_param { eps: 0.01 }"),
        layer("scale", "Scale", "norm", "norm", "scale_param { bias_term: true }"),
        data=(3, 2, 3, 3),
    )
    check(
        text + FORCED,
        START[0].replace("TEST", kind),
        *START[1:],
        "net.forward()",
        "net.forward()",
        "net.backward(norm=noise(3, 2, 3, 3, seed=6))",
        "net.forward(data=noise(3, 2, 3, 3, seed=7))",
        "net.backward(start='norm')",
    )


@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (1, 3, 2, 2), (1, 3, 1, 1), (1, 1, 2, 2)])
@pytest.mark.parametrize("top", ["scale", "data"])
def test_diffs_of_scales_for_each_form(check, shape, top):
    """Where Caffe replaces them instead of adding, and what a second pass in place gives."""
    text = net_text(
        layer("scale", "Scale", "data", top, "scale_param { bias_term: true }"), data=shape
    )
    check(
        text + FORCED,
        *START,
        "net.forward()",
        f"net.backward({top}=like(net.blobs['data'], seed=3))",
        f"net.backward({top}=like(net.blobs['data'], seed=4))",
        "net.blobs['data'].data[...] = 1",
        f"net.backward({top}=like(net.blobs['data'], seed=5))",
    )


@pytest.mark.parametrize("top", ["scale", "data"])
@pytest.mark.parametrize(("axis", "shape"), [(0, (2, 3)), (1, (3, 2)), (0, ()), (-1, (2,))])
def test_scales_by_another_blob(check, top, axis, shape):
    text = net_text(
        layer("scale", "Scale", "data by", top, f"scale_param {{ axis: {axis} }}"),
        data=(2, 3, 2),
        by=shape,
    )
    check(
        text + FORCED,
        *START,
        "net.blobs['by'].data[...] = like(net.blobs['by'], seed=6)",
        "net.forward()",
        f"net.backward({top}=like(net.blobs['data'], seed=3))",
        f"net.backward({top}=like(net.blobs['data'], seed=4))",
    )


@pytest.mark.parametrize(
    "params",
    [
        'type: "Power" power_param { scale: 0.5 }',
        'type: "Power" power_param { power: 2 scale: 0.5 shift: 3 }',
        'type: "Power" power_param { power: 3 }',
        'type: "Power" power_param { power: -0.5 shift: 9 }',
        'type: "Power" power_param { scale: 0 shift: 2 }',
        'type: "Log" log_param { shift: 5 base: 2 scale: 0.5 }',
    ],
)
@pytest.mark.parametrize("top", ["top", "data"])
def test_slopes_that_caffe_writes_over_the_diff_in_place(check, params, top):
    text = net_text(data=(2, 3)) + f'layer {{ name: "a" bottom: "data" top: "{top}" {params} }}'
    check(text + FORCED, *START, "net.forward()", f"net.backward({top}=noise(2, 3, seed=3))")


READERS = (
    "LRN lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 }",
    "LRN lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }",
    "Eltwise eltwise_param { operation: MAX }",
    "Eltwise eltwise_param { operation: PROD }",
    "Eltwise eltwise_param { operation: PROD stable_prod_grad: false }",
    "PReLU",
    "Normalize",
    "Normalize norm_param { across_spatial: false channel_shared: false }",
    "MVN",
    "Permute permute_param { order: 0 order: 2 order: 3 order: 1 }",
    "Permute permute_param { order: 0 order: 1 }",
    "Pooling pooling_param { pool: AVE kernel_size: 2 }",
    "Pooling pooling_param { kernel_size: 2 }",
    "Reduction reduction_param { operation: ASUM axis: 1 }",
    "Reduction reduction_param { operation: SUMSQ axis: 2 }",
    "InnerProduct inner_product_param { num_output: 2 transpose: true }",
    "Convolution convolution_param { num_output: 4 kernel_size: 2 group: 2 }",
    "Deconvolution convolution_param { num_output: 2 kernel_size: 2 group: 2 }",
    "Concat",
    "Flatten flatten_param { axis: 2 }",
    "Reshape reshape_param { shape { dim: 0 dim: -1 } }",
    "Softmax",
    "Sigmoid",
    "TanH",
    "ELU",
    "BNLL",
    "AbsVal",
    "Exp",
    "SPP spp_param { pyramid_height: 2 }",
)


@pytest.mark.parametrize("layer_and_params", READERS)
def test_which_values_a_backward_pass_reads(check, layer_and_params):
    kind, _, params = layer_and_params.partition(" ")
    several = kind == "Eltwise"
    text = net_text(
        layer("top", kind, "data other" if several else "data", "", params),
        layer("end", "Power", "top", "", "power_param { scale: 2 }"),
        data=(2, 4, 4, 4),
        **({"other": (2, 4, 4, 4)} if several else {}),
    )
    check(
        text + FORCED,
        *START,
        *(["net.blobs['other'].data[...] = like(net.blobs['other'], seed=9)"] if several else []),
        "net.forward()",
        "net.backward(end=like(net.blobs['end'], seed=3))",
        "net.blobs['data'].data[...] *= 0.5",
        "net.backward()",
        "net.blobs['top'].data[...] *= 1.5",
        "net.backward()",
        "net.forward()",
        "net.backward()",
    )


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
@pytest.mark.parametrize("static", ["", "static"])
def test_recurrent_layers_continue_where_the_last_pass_ended(check, kind, static):
    params = (
        "recurrent_param { num_output: 3 weight_filler { type: 'constant' value: 0.5 }"
        " bias_filler { type: 'constant' value: 0.1 } }"
    )
    text = net_text(
        layer("top", kind, f"data cont {static}", "", params),
        data=(2, 2, 3),
        cont=(2, 2),
        **({static: (2, 4)} if static else {}),
    )
    check(
        text + FORCED,
        *START,
        "net.blobs['cont'].data[...] = [[0, 0], [1, 1]]",
        "net.forward()",
        "net.blobs['cont'].data[...] = [[1, 0], [1, 1]]",
        "net.forward()",
        "net.backward(top=noise(2, 2, 3, seed=3))",
        "net.forward()",
        "net.backward(top=noise(2, 2, 3, seed=4))",
    )


def test_recurrent_layers_whose_states_are_blobs(check):
    params = "recurrent_param { num_output: 3 expose_hidden: true }"
    text = net_text(
        layer("top", "LSTM", "data cont h c", "top h_out c_out", params),
        data=(2, 2, 3),
        cont=(2, 2),
        h=(1, 2, 3),
        c=(1, 2, 3),
    )
    check(
        text + FORCED,
        *START,
        "net.blobs['cont'].data[...] = 1",
        "net.forward()",
        "net.blobs['h'].data[...] = net.blobs['h_out'].data",
        "net.blobs['c'].data[...] = net.blobs['c_out'].data",
        "net.forward()",
        "net.blobs['top'].diff[...] = 1",
        "net.backward()",
    )


# -- losses --------------------------------------------------------------------------------------


def test_a_loss_needs_no_seed(check):
    check(
        CLASSIFIER,
        *START,
        LABEL,
        "net.forward()",
        "net.backward()",
        "net.backward(diffs=['fc'])",
        "net.blobs['loss'].diff[...] *= 3",
        "net.backward()",
    )


def test_the_loss_reaches_the_input_if_forced(check):
    check(
        CLASSIFIER + FORCED,
        *START,
        LABEL,
        "net.forward()",
        "net.backward()",
        "net.backward(loss=noise(1))",
        "net.blobs['data'].diff[...]",
    )


LOSSES = {
    "SoftmaxWithLoss": "loss_param { ignore_label: 1 }",
    "SoftmaxWithLoss ": "loss_param { normalization: NONE }",
    "MultinomialLogisticLoss": "",
    "Accuracy": "",
    "Accuracy ": "accuracy_param { top_k: 2 }",
}


@pytest.mark.parametrize("kind", list(LOSSES))
def test_losses_of_labels(check, kind):
    text = net_text(
        layer("fc", "InnerProduct", "data", "", "inner_product_param { num_output: 4 }"),
        layer("prob", "Softmax", "fc"),
        layer("loss", kind.strip(), "prob label", "", LOSSES[kind]),
        data=(3, 5),
        label=(3,),
    )
    check(
        text, *START, "net.blobs['label'].data[...] = [1, 0, 3]", "net.forward()", "net.backward()"
    )


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_hinge_losses(both, norm):
    """Seen only after backward: Caffe uses the bottom's diff for notes of its forward pass."""
    text = net_text(
        layer("fc", "InnerProduct", "data", "", "inner_product_param { num_output: 4 }"),
        layer("loss", "HingeLoss", "fc label", "", f"hinge_loss_param {{ norm: {norm} }}"),
        data=(3, 5),
        label=(3,),
    )
    lines = (*START, "net.blobs['label'].data[...] = [1, 0, 3]", "net.forward()", "net.backward()")
    assert both.check(program(*lines, looks=[len(lines) - 1], net=text))


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("EuclideanLoss", ""),
        ("SigmoidCrossEntropyLoss", ""),
        ("SmoothL1Loss", ""),
    ],
)
def test_losses_of_targets(check, kind, params):
    text = net_text(
        layer("fc", "InnerProduct", "data", "", "inner_product_param { num_output: 4 }"),
        layer("loss", kind, "fc target", "", f"loss_weight: 0.5 {params}"),
        data=(3, 5),
        target=(3, 4),
    )
    target = "net.blobs['target'].data[...] = labels(net.blobs['target'], 2, seed=1)"
    check(text + FORCED, *START, target, "net.forward()", "net.backward()")


@pytest.mark.parametrize(
    "first",
    [
        layer("first", "BatchNorm", "data", "", "batch_norm_param { eps: 0.1 }"),
        layer("first", "Scale", "data"),
        layer("first", "PReLU", "data"),
        layer("first", "Bias", "data"),
        conv("first", "data", 2),
        layer("first", "LSTM", "data cont", "", "recurrent_param { num_output: 3 }"),
    ],
)
@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
def test_what_layers_write_into_unneeded_diffs(check, first, phase):
    shapes = {"data": (2, 2, 3), "cont": (2, 2)} if "LSTM" in first else {"data": (2, 2, 3, 3)}
    text = net_text(first, layer("end", "Power", "first", "", "loss_weight: 2"), **shapes)
    check(
        text,
        START[0].replace("TEST", phase),
        *START[1:],
        "net.forward()",
        "net.backward()",
        "net.blobs['end'].diff[...] = like(net.blobs['end'], seed=3)",
        "net.backward()",
    )


def test_normalized_values_and_deviations_of_mvn(check):
    text = net_text(layer("norm", "MVN", "data"), data=(2, 3, 4, 4))
    check(
        text + FORCED,
        *START,
        "net.forward()",
        "net.blobs['data'].data[...] *= 3",
        "net.backward(norm=noise(2, 3, 4, 4, seed=3))",
        "net.blobs['norm'].data[:, 0] *= 3",
        "net.backward(norm=noise(2, 3, 4, 4, seed=4))",
    )


def test_any_top_may_be_a_loss(check):
    text = net_text(
        layer("fc", "InnerProduct", "data", "", "inner_product_param { num_output: 4 }"),
        layer(
            "sum", "Reduction", "fc", "", "reduction_param { operation: SUMSQ } loss_weight: 0.5"
        ),
        layer("act", "Sigmoid", "fc", "", "loss_weight: 2"),
        layer("more", "Power", "act", "", "power_param { scale: 3 }"),
        data=(2, 3),
    )
    check(
        text, *START, "net.blob_loss_weights", "net.forward()", "net.backward()", "net.backward()"
    )


# -- names and shapes ----------------------------------------------------------------------------


def test_names_are_in_the_order_of_the_file_and_outputs_in_that_of_the_alphabet(check):
    text = net_text(
        conv("z", "data", 2),
        conv("b", "z", 2),
        layer("c a", "Slice", "z", "c a"),
        data=(1, 1, 2, 2),
    )
    check(text, *START, "net.forward()", "[net._blob_names[i] for i in net._top_ids(2)]")


def test_inputs_that_are_fields(check):
    body = conv("conv", "data", 2) + layer("sum", "Eltwise", "conv more")
    text = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 2 input_dim: 2 input: "more" '
    text += "input_dim: 1 input_dim: 2 input_dim: 2 input_dim: 2 "
    check(text + body, *START, "net.layers[0].type", "net._layer_names[0]", "net.forward()")


def test_layers_of_version_1(check):
    text = (
        'input: "data" input_shape { dim: 1 dim: 2 dim: 4 dim: 4 } force_backward: true\n'
        'layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 0 '
        "convolution_param { num_output: 2 kernel_size: 3 } }\n"
        'layers { name: "relu" type: RELU bottom: "conv" top: "conv" }\n'
        'layers { name: "fc" type: INNER_PRODUCT bottom: "conv" top: "fc" '
        "inner_product_param { num_output: 3 } }"
    )
    check(text, *START, "net.forward()", "net.backward(fc=noise(1, 3))")


def test_splits_share_data_once_the_net_has_run(check):
    check(
        BRANCHES + FORCED,
        *START,
        "net.blobs['mid'].data[...] = 3",
        "net.forward(start='left')",
        "net.forward(end='mid_mid_0_split')",
        "net.blobs['mid'].data[...] = 3",
        "net.forward(start='left')",
        "net.forward()",
        "net.blobs['mid_mid_0_split_1'].data[...] = 3",
        "net.blobs['mid_mid_0_split_1'].diff[...] = 4",
        "net.forward(start='left')",
        "net.blobs['sum'].data[0, 1] = 9",
        "net.blobs['flat'].diff[0, :3] = 9",
        "net.backward(start='flat', end='flat')",
        "net.blobs['sum'].diff[0, 1] = 7",
    )


def test_shape_and_the_four_old_axes(check):
    check(
        CHAIN,
        *START,
        "[list(blob.shape) for blob in net.blobs.values()]",
        "[(b.num, b.channels, b.height, b.width, b.count) for b in net.blobs.values()]",
        "net.blobs['conv1'].shape[2:]",
        "len(net.blobs['fc'].shape)",
    )


def test_reshape_keeps_what_fits_and_zeros_what_grows(check):
    check(
        CHAIN,
        *START,
        "net.forward()",
        "net.blobs['data'].reshape(1, 3, 8, 8)",
        "net.blobs['data'].data[0, 0, 0]",
        "net.reshape()",
        "net.forward()",
        "net.blobs['data'].reshape(2, 3, 8, 8)",
        "net.blobs['data'].reshape(3, 3, 8, 8)",
        "net.forward()",
        "net.blobs['data'].data[...] = 1",
        "net.blobs['data'].reshape(*[1, 3, 8, 8])",
        "net.forward()",
        "net.blobs['prob'].data.reshape(-1)",
    )


def test_reshape_to_another_number_of_axes(check):
    text = net_text(layer("act", "Sigmoid", "data"), data=(2, 6))
    check(
        text + FORCED,
        *START,
        "net.blobs['data'].reshape(3, 1, 2, 2)",
        "net.forward()",
        "net.blobs['data'].reshape(12)",
        "net.forward()",
        "net.backward(act=noise(12))",
        "net.blobs['data'].reshape()",
        "net.forward()",
    )


def test_the_diff_of_a_loss_weight_is_lost_when_its_blob_grows(check):
    text = net_text(layer("act", "Sigmoid", "data", "", "loss_weight: 2"), data=(2, 3)) + FORCED
    check(
        text,
        *START,
        "net.forward()",
        "net.backward()",
        "net._forward(0, 1)",
        "net.blobs['act'].diff[0] = 5",
        "net._forward(1, 1)",
        "net.blobs['data'].reshape(1, 3)",
        "net.forward()",
        "net.backward()",
        "net.blobs['data'].reshape(3, 3)",
        "net.forward()",
        "net._forward(0, 1)",
        "net.backward()",
    )


# -- parameters and files ------------------------------------------------------------------------

SHARING = net_text(
    layer(
        "a",
        "InnerProduct",
        "data",
        "",
        'inner_product_param { num_output: 3 } param { name: "w" } param { name: "b" }',
    ),
    layer(
        "b",
        "InnerProduct",
        "a",
        "",
        'inner_product_param { num_output: 3 } param { name: "w" } param { name: "c" }',
    ),
    data=(2, 3),
)


def test_shared_parameters_have_one_memory_and_add_up_their_diffs(check):
    check(
        SHARING + FORCED,
        *START,
        "net.params['b'][0].data[0] = 5",
        "net.forward()",
        "net.backward(b=noise(2, 3, seed=3))",
        "net.params['a'][0].diff[...] = 0",
        "net.backward()",
        "net.clear_param_diffs()",
        "net.save('net.caffemodel')",
        "other = caffe.Net('net.prototxt', caffe.TEST, weights='net.caffemodel')",
        "other.params['a'][0].data[1] = 4",
    )


def test_the_top_of_a_parameter_layer_is_the_parameter(check):
    text = net_text(
        layer("p", "Parameter", "", "p", "parameter_param { shape { dim: 2 dim: 3 } }"),
        layer("sum", "Eltwise", "data p"),
        data=(2, 3),
    )
    check(
        text + FORCED,
        *START,
        "net.forward()",
        "net.blobs['p'].data[0] = 5",
        "net.params['p'][0].data[1, 1] = 7",
        "net.forward()",
        "net.backward(sum=noise(2, 3))",
        "net.backward(sum=noise(2, 3))",
        "net.clear_param_diffs()",
    )


def test_a_learning_rate_of_zero_stops_diffs(check):
    text = net_text(
        layer(
            "a",
            "InnerProduct",
            "data",
            "",
            "inner_product_param { num_output: 3 } param { lr_mult: 0 } param { lr_mult: 0 }",
        ),
        layer(
            "b",
            "InnerProduct",
            "a",
            "",
            "inner_product_param { num_output: 3 } param { lr_mult: 0 } param { lr_mult: 1 }",
        ),
        layer(
            "c",
            "InnerProduct",
            "b",
            "",
            "inner_product_param { num_output: 3 } propagate_down: true loss_weight: 1",
        ),
        data=(2, 3),
    )
    for suffix in ("", FORCED):
        check(text + suffix, *START, "net.forward()", "net.backward()")


def test_input_arrays_without_a_layer_that_takes_them(check):
    check(
        CHAIN,
        *START,
        "net.set_input_arrays(noise(2, 3, 8, 8), noise(2))",
        "net.forward()",
    )


MEMORY_DATA = (
    'layer { name: "data" type: "MemoryData" top: "data" top: "label" '
    "memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }\n"
    + layer("act", "Sigmoid", "data")
)


def test_input_arrays_come_batch_by_batch_and_start_over(check):
    check(
        MEMORY_DATA,
        MAKE,
        "images = noise(6, 1, 2, 3, seed=1)",
        "net.set_input_arrays(images, np.arange(6, dtype=np.float32))",
        "net.forward()",
        "net.forward()",
        "images[4] = 7",
        "net.forward()",
        "net.forward()",
        "net.set_input_arrays(noise(3, 1, 2, 3), np.zeros(3, np.float32))",
        "net.set_input_arrays(noise(2, 1, 2, 4), np.zeros(2, np.float32))",
        "net.set_input_arrays(noise(2, 1, 2, 3).astype(float), np.zeros(2, np.float32))",
    )


def test_weights_by_name_from_a_file(check):
    other = net_text(
        conv("new", "data", 3, 1),
        conv("conv1", "new", 4, 3),
        conv("conv2", "conv1", 3, 2),
        data=(1, 3, 6, 6),
    )
    check(
        CHAIN,
        *START,
        "net.save('net.caffemodel')",
        "net.save_hdf5('net.h5')",
        "other = caffe.Net('other.prototxt', caffe.TEST)",
        "randomize(other, 9)",
        "other.copy_from('net.caffemodel')",
        "randomize(other, 8)",
        "other.load_hdf5('net.h5')",
        "other.params['conv1'][0].data[...] = 0",
        "third = caffe.Net('net.prototxt', 'net.caffemodel', caffe.TEST)",
        "third.copy_from('net.h5')",
        "caffe.Net('net.prototxt', 'nothing.caffemodel', caffe.TEST)",
        "caffe.Net('nothing.prototxt', caffe.TEST)",
        other=other,
    )


@pytest.mark.parametrize("form", ["caffemodel", "h5"])
def test_each_reads_what_the_other_saved(both, tmp_path, form):
    text = SHARING + FORCED
    save = "save_hdf5" if form == "h5" else "save"
    for module in (both.real, both.ours):
        path = str(tmp_path / f"{module.module}.{form}")
        written = [*START, f"net.{save}({path!r})"]
        module.run(program(*written, net=text) | {"stale": [[]] * len(written)})
        read = f"net = caffe.Net('net.prototxt', caffe.TEST, weights={path!r})"
        assert both.check(program(read, "net.params['b'][1].data.any()", net=text))


def test_parameters_are_lists(check):
    check(
        CHAIN,
        *START,
        "len(net.params['conv1'])",
        "net.params['conv1'][-1].data",
        "[list(blob.shape) for blob in net.params['fc'][0:1]]",
        "[blob.data.sum() for blob in net.params['conv2']]",
        "net.params['conv2'][2]",
        "{name: [p.data.shape[0] for p in ps] for name, ps in net.params.items()}",
        "weights, bias = net.params['fc']",
        "bias.data[...] = 3",
        "[p.count for p in net.layers[1].blobs]",
    )


def test_parameters_that_are_shared_in_another_shape(check):
    text = net_text(
        layer(
            "a",
            "InnerProduct",
            "data",
            "",
            "inner_product_param { num_output: 6 bias_term: false } param { name: 'w' }",
        ),
        layer(
            "b",
            "InnerProduct",
            "a",
            "",
            "inner_product_param { num_output: 2 bias_term: false }"
            " param { name: 'w' share_mode: PERMISSIVE }",
        ),
        data=(2, 2),
    )
    check(
        text + FORCED,
        *START,
        "net.forward()",
        "net.params['b'][0].data[0] = 1",
        "net.forward()",
        "net.backward(b=noise(2, 2, seed=3))",
        "net.params['a'][0].diff[0] = 0",
        "net.backward()",
    )


def test_a_blob_between_layers_takes_another_shape_until_the_next_pass(check):
    check(
        CHAIN + FORCED,
        *START,
        "net.forward()",
        "net.blobs['pool1'].reshape(1, 4, 3, 3)",
        "net.blobs['pool1'].data[...] = 2",
        "net.forward(start='conv2')",
        "net.blobs['fc'].reshape(5, 1)",
        "net.blobs['fc'].data[...] = np.arange(5)[:, None]",
        "net.forward()",
        "net.backward(prob=noise(2, 5, seed=3))",
    )


def test_a_net_without_parameters_can_be_saved_and_loaded(check):
    check(
        net_text(layer("act", "Sigmoid", "data"), data=(1, 2)),
        *START,
        "net.save('net.caffemodel')",
        "net.copy_from('net.caffemodel')",
        "other = caffe.Net('net.prototxt', 'net.caffemodel', caffe.TEST)",
    )


def test_nets_that_share_weights(check):
    check(
        CHAIN + FORCED,
        *START,
        "other = caffe.Net('net.prototxt', caffe.TEST)",
        "other.share_with(net)",
        "net.params['conv1'][0].data[...] *= 0.5",
        "other.params['conv2'][1].data[...] = 1",
        "other.forward(data=noise(2, 3, 8, 8, seed=4))",
        "net.forward()",
        "other.backward(prob=noise(2, 5))",
        "del net",
        "other.forward()",
    )


def test_fillers_of_a_net_without_weights(check):
    text = net_text(
        conv(
            "conv",
            "data",
            2,
            2,
            "weight_filler { type: 'constant' value: 0.5 }"
            " bias_filler { type: 'constant' value: 1 }",
        ),
        layer("norm", "BatchNorm", "conv", "conv"),
        layer("scale", "Scale", "conv", "conv", "scale_param { bias_term: true }"),
        layer("prelu", "PReLU", "conv", "conv"),
        layer(
            "up",
            "Deconvolution",
            "conv",
            "",
            "convolution_param { num_output: 2 group: 2 "
            "kernel_size: 4 stride: 2 weight_filler { type: 'bilinear' } bias_term: false }",
        ),
        layer("bias", "Bias", "up", "up", "bias_param { filler { type: 'constant' value: 3 } }"),
        layer("norm2", "Normalize", "up", "up"),
        conv("zero", "up", 1),
        data=(1, 1, 4, 4),
    )
    check(text, MAKE, FILL, "net.forward()")


# -- where real Caffe ends the process -----------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "net.blobs['data'].reshape(2, 4, 8, 8); net.forward()",
        "net.blobs['data'].reshape(2, 3, 2, 2); net.reshape()",
        "net.blobs['data'].reshape(2, 3, 9, 12); net.forward()",
        "net.blobs['data'].reshape(2, -3, 8, 8)",
        "caffe.Net('broken.prototxt', caffe.TEST)",
        "caffe.Net('unconnected.prototxt', caffe.TEST)",
        "net.save('net.caffemodel'); caffe.Net('larger.prototxt', 'net.caffemodel', caffe.TEST)",
        "net.copy_from('nothing.caffemodel')",
        "net.copy_from('net.prototxt')",
        "net.load_hdf5('nothing.h5')",
        "other = caffe.Net('larger.prototxt', caffe.TEST); other.share_with(net)",
        "net.blobs['conv1'].reshape(3, 3); net.forward(start='pool1')",
        "net.forward(); net._forward(0, 99)",
        "net.forward(); net._backward(99, 0)",
    ],
)
def test_where_caffe_aborts_an_error_is_raised(check, line):
    check(
        CHAIN,
        *START,
        line,
        aborts=True,
        broken="layer { name: 'data' type: ",
        unconnected=net_text(conv("conv1", "nothing", 2)),
        larger=CHAIN.replace("num_output: 5", "num_output: 6"),
    )
