"""Preprocessing. Oracles: real Caffe's Transformer, and small pictures worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import sample_image
from deepvis_caffe.model import preprocess
from deepvis_caffe.model.preprocess import Preprocessor

RNG = np.random.default_rng(7)
IMAGENET = (104, 117, 123)


def picture(height, width, channels=3):
    rng = np.random.default_rng([height, width, channels])
    return rng.integers(0, 256, (height, width, channels), np.uint8)


# -- picture to input ------------------------------------------------------------------------


def test_one_pixel_by_hand():
    # RGB (10, 20, 30) -> BGR (30, 20, 10) -> of 1: * 2 / 255 -> minus mean -> times 0.5
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    x = Preprocessor((3, 1, 1), (0.1, 0.2, 0.3), raw_scale=2, input_scale=0.5)(pixel)
    expected = [(2 * 30 / 255 - 0.1) / 2, (2 * 20 / 255 - 0.2) / 2, (2 * 10 / 255 - 0.3) / 2]
    np.testing.assert_allclose(x.ravel(), expected, rtol=1e-6)
    assert x.dtype == np.float32


def test_defaults_are_bgr_of_0_to_255():
    image = picture(4, 5)
    x = Preprocessor((3, 4, 5))(image)
    np.testing.assert_allclose(x, image[..., ::-1].transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.pycaffe
@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.sampled_from([1, 3]),
    raw_scale=st.sampled_from([255.0, 1.0, 2.0]),
    input_scale=st.sampled_from([1.0, 0.017, 2.0]),
    mean=st.sampled_from(["none", "values", "image"]),
    swap=st.booleans(),
)
def test_agrees_with_caffes_transformer(caffe, size, channels, raw_scale, input_scale, mean, swap):
    shape = (channels, *size)
    order = tuple(range(channels))[:: -1 if swap else 1]
    spec = {
        "none": None,
        "values": np.linspace(0.2, 0.7, channels) * raw_scale,
        "image": np.random.default_rng(0).random(shape) * raw_scale,
    }[mean]
    reference = caffe.io.Transformer({"data": (1, *shape)})
    reference.set_transpose("data", (2, 0, 1))
    reference.set_channel_swap("data", order)
    reference.set_raw_scale("data", raw_scale)
    reference.set_input_scale("data", input_scale)
    if spec is not None:
        reference.set_mean("data", spec)
    image = picture(*size, channels)
    ours = Preprocessor(shape, spec, order, raw_scale, input_scale)
    x = ours(image)
    bound = 1e-6 * raw_scale * input_scale
    np.testing.assert_allclose(
        x, reference.preprocess("data", image.astype(np.float32) / 255), rtol=1e-5, atol=bound
    )
    if min(size) > 1 and channels == 3:  # Caffe's deprocess squeezes axes of length 1 away
        shown = np.rint(np.clip(reference.deprocess("data", x), 0, 1) * 255)
        np.testing.assert_array_equal(ours.show(x), shown)


def test_gray_net_takes_the_luminance():
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 200, 200]]], np.uint8)
    x = Preprocessor((1, 1, 4))(pixels)
    np.testing.assert_allclose(x.ravel(), [76.245, 149.685, 29.07, 200], rtol=1e-5)


def test_gray_picture_into_a_colour_net_and_a_gray_net():
    gray = picture(3, 3, 1)
    for image in (gray, gray[..., 0]):
        np.testing.assert_allclose(
            Preprocessor((3, 3, 3))(image), np.stack([gray[..., 0]] * 3), rtol=1e-6
        )
        np.testing.assert_allclose(Preprocessor((1, 3, 3))(image)[0], gray[..., 0], rtol=1e-6)


def test_alpha_is_dropped_except_where_the_net_has_4_channels():
    rgba = picture(3, 3, 4)
    np.testing.assert_allclose(
        Preprocessor((3, 3, 3))(rgba), rgba[..., 2::-1].transpose(2, 0, 1), rtol=1e-6
    )
    np.testing.assert_allclose(Preprocessor((4, 3, 3))(rgba), rgba.transpose(2, 0, 1), rtol=1e-6)


def test_many_channels_with_a_swap():
    image = picture(3, 4, 6)
    order = (5, 3, 1, 0, 2, 4)
    x = Preprocessor((6, 3, 4), channel_swap=order)(image)
    for channel, taken in enumerate(order):
        np.testing.assert_allclose(x[channel], image[..., taken], rtol=1e-6)


def test_number_types_agree():
    image = picture(3, 3)
    x = Preprocessor((3, 3, 3))(image)
    for same in (image.astype(np.uint16) * 257, image / 255, (image / 255).astype(np.float32)):
        np.testing.assert_allclose(Preprocessor((3, 3, 3))(same), x, rtol=1e-5)


def test_a_sequence_is_a_batch():
    images = [picture(9, 6), picture(5, 8), picture(4, 4)[..., 0]]
    pre = Preprocessor((3, 4, 5), IMAGENET)
    batch = pre(images)
    for x, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(x, pre(image))
    np.testing.assert_array_equal(pre(np.stack([images[0]] * 2))[1], batch[0])


# -- size ------------------------------------------------------------------------------------

# A gradient along the columns, 2 rows x 8 columns: the value says where a pixel came from.
RAMP = np.tile(np.arange(0, 160, 20, np.uint8), (2, 1))


def test_crop_takes_the_centre():
    x = Preprocessor((1, 2, 2))(RAMP)  # the square centre: columns 3 and 4
    np.testing.assert_allclose(x[0], [[60, 80], [60, 80]], rtol=1e-5)


def test_crop_then_shrink_averages():
    x = Preprocessor((1, 1, 2))(RAMP)  # the centre of aspect 1 : 2: columns 2 to 5, in pairs
    np.testing.assert_allclose(x[0], [[50, 90]], rtol=1e-5)


def test_stretch_takes_everything():
    x = Preprocessor((1, 2, 2), resize="stretch")(RAMP)
    np.testing.assert_allclose(x[0], [[30, 110], [30, 110]], rtol=1e-5)


def test_crop_of_a_tall_picture():
    x = Preprocessor((1, 2, 2))(RAMP.T)
    np.testing.assert_allclose(x[0], [[60, 60], [80, 80]], rtol=1e-5)


def test_shrinking_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (300, 150))
    x = Preprocessor((1, 50, 50))(stripes)
    np.testing.assert_allclose(x, 127.5, atol=1e-3)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    picture_size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    resize=st.sampled_from(["crop", "stretch"]),
)
def test_a_constant_picture_stays_constant_at_every_size(picture_size, size, resize):
    image = np.broadcast_to(np.array([10, 150, 240], np.uint8), (*picture_size, 3))
    x = Preprocessor((3, *size), resize=resize)(image)
    np.testing.assert_allclose(
        x, np.broadcast_to(np.array([240, 150, 10])[:, None, None], (3, *size)), rtol=1e-4
    )


# -- input to picture ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"mean": IMAGENET},
        {"mean": (0.4, 0.5, 0.6), "raw_scale": 1.0},
        {"mean": IMAGENET, "input_scale": 0.017, "channel_swap": (1, 2, 0)},
        {"mean": RNG.random((3, 20, 30)) * 255},
    ],
)
def test_show_undoes_preprocessing(parameters):
    image = picture(11, 13)
    pre = Preprocessor((3, 11, 13), **parameters)
    np.testing.assert_array_equal(pre.show(pre(image)), image)
    np.testing.assert_array_equal(pre.show(pre([image, image[::-1]]))[1], image[::-1])


def test_show_of_a_photograph():
    cat = sample_image("chelsea")[:227, 100:327]
    pre = Preprocessor((3, 227, 227), IMAGENET)
    np.testing.assert_array_equal(pre.show(pre(cat)), cat)


def test_show_of_gray_two_and_many_channels():
    for channels, shown in ((1, [0, 0, 0]), (2, [0, 0, 0]), (5, [0, 1, 2])):
        image = picture(4, 4, channels)
        pre = Preprocessor((channels, 4, 4), np.arange(channels) + 1.0)
        np.testing.assert_array_equal(pre.show(pre(image)), image[..., shown])


def test_show_clips():
    pre = Preprocessor((1, 1, 3), 100)
    x = np.array([[[-500, 0, 500]]], np.float32)
    np.testing.assert_array_equal(pre.show(x)[0, :, 0], [0, 100, 255])


def test_symmetric_puts_0_at_mid_gray():
    # The largest magnitude, 4, becomes the full swing: v -> 127.5 + 127.5 * v / 4. BGR -> RGB.
    x = np.array([[[0, -4]], [[2, 0]], [[1, -1]]], np.float32)
    shown = Preprocessor((3, 1, 2), IMAGENET).show_symmetric(x)
    np.testing.assert_array_equal(shown, [[[159, 191, 128], [96, 128, 0]]])


def test_symmetric_scales_each_image_alone_and_survives_zeros():
    x = np.zeros((3, 1, 1, 2), np.float32)
    x[1, 0, 0], x[2, 0, 0] = [1, 0], [-100, 50]
    shown = Preprocessor((1, 1, 2)).show_symmetric(x)[:, 0, :, 0]
    np.testing.assert_array_equal(shown, [[128, 128], [255, 128], [0, 191]])


# -- the box ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"mean": IMAGENET},
        {"mean": (0.4, 0.5, 0.6), "raw_scale": 1.0, "input_scale": 3.0},
        {"mean": RNG.random((3, 5, 5)) * 255},
    ],
)
def test_low_and_high_are_black_and_white(parameters):
    pre = Preprocessor((3, 4, 4), **parameters)
    for bound, level in ((pre.low, 0), (pre.high, 255)):
        np.testing.assert_allclose(
            np.broadcast_to(bound, (3, 4, 4)),
            pre(np.full((4, 4, 3), level, np.uint8)),
            rtol=1e-5,
        )


def test_pixel_scale_is_the_step_between_gray_levels():
    pre = Preprocessor((3, 1, 1), (0.4, 0.5, 0.6), raw_scale=1.0, input_scale=3.0)
    step = pre(np.full((1, 1, 3), 101, np.uint8)) - pre(np.full((1, 1, 3), 100, np.uint8))
    np.testing.assert_allclose(step, pre.pixel_scale, rtol=1e-4)


def test_another_input_size_crops_the_mean_again():
    mean = RNG.random((3, 20, 30)).astype(np.float32)
    pre = Preprocessor((3, 4, 4), mean, raw_scale=1.0, input_scale=2.0, resize="stretch")
    wide = pre.for_shape(10, 20)
    np.testing.assert_array_equal(wide.mean, mean[:, 5:15, 5:25])
    image = picture(10, 20)
    np.testing.assert_allclose(
        wide(image),
        (image[..., ::-1].transpose(2, 0, 1) / 255 - mean[:, 5:15, 5:25]) * 2,
        atol=1e-5,
    )


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"shape": (10,)}, r"\(channels, height, width\), got \(10,\)"),
        ({"shape": (3, 0, 4)}, "got"),
        ({"channel_swap": (2, 1)}, r"3 channels once, for example \(2, 1, 0\), got \(2, 1\)"),
        ({"channel_swap": (0, 0, 1)}, "channel_swap"),
        ({"raw_scale": 0}, "raw_scale must be a positive number, got 0"),
        ({"input_scale": float("nan")}, "input_scale"),
        ({"resize": "fit"}, "'crop' or 'stretch', got 'fit'"),
        ({"mean": (1, 2)}, "3 channels"),
    ],
)
def test_parameters_that_do_not_fit(parameters, words):
    with pytest.raises(ImageError, match=words):
        Preprocessor(**({"shape": (3, 4, 4)} | parameters))


@pytest.mark.parametrize(
    ("channels", "image", "words"),
    [
        (2, picture(4, 4), r"has 2 channels, but the picture has 3.*\(height, width, 2\)"),
        (3, picture(4, 4, 2), "has 3 channels, but the picture has 2"),
        (3, picture(4, 4) * np.float32(2), r"must lie in \[0, 1\] or \[0, 255\].*divide by 255"),
        (3, picture(4, 4) / np.float32(255) - 1, r"must lie in \[0, 1\] or \[0, 255\]"),
        (5, np.full((4, 4, 5), np.inf), r"must lie in \[0, 1\]"),
        (3, np.full((4, 4, 3), np.nan), r"must lie in \[0, 1\]"),
        (3, picture(4, 4).astype(np.int64), "got int64"),
        (3, picture(4, 4)[:0], "no pixels"),
    ],
)
def test_pictures_that_do_not_fit(channels, image, words):
    with pytest.raises(ImageError, match=words):
        Preprocessor((channels, 4, 4))(image)


def test_inputs_of_another_size_are_shown_only_without_a_mean_image():
    x = np.zeros((3, 6, 6), np.float32)
    assert (Preprocessor((3, 4, 4), IMAGENET).show(x) == IMAGENET[::-1]).all()
    with pytest.raises(ImageError, match=r"for_shape\(height, width\)"):
        Preprocessor((3, 4, 4), np.zeros((3, 4, 4))).show(x)
    with pytest.raises(ImageError, match=r"got shape \(6, 6\)"):
        Preprocessor((3, 4, 4)).show(x[0])


# -- other channels than gray and RGB ------------------------------------------------------------


def test_floats_beyond_1_are_taken_as_they_are():
    bands = np.float32([[[-3.5, 0.25, 7000, 2]]])
    x = Preprocessor((4, 1, 1), (1, 2, 3, 4), raw_scale=255, input_scale=2)(bands)
    np.testing.assert_allclose(x.ravel(), [-9, -3.5, 13994, -4], rtol=1e-5)
    pixels = np.float32([[[10, 20.5, 255]]])  # of a picture in 0..255: BGR
    np.testing.assert_allclose(Preprocessor((3, 1, 1))(pixels).ravel(), [255, 20.5, 10], rtol=1e-6)
    unit = np.float32([[[0, 0.5, 1, 0.25]]])  # as Caffe's load_image gives them
    np.testing.assert_allclose(Preprocessor((4, 1, 1))(unit).ravel(), [0, 127.5, 255, 63.75])


def test_whether_floats_are_within_1_is_a_matter_of_the_whole_image_not_of_the_crop():
    bands = np.zeros((2, 6, 4), np.float32)
    bands[:, 2:4] = 1
    bands[0, 0, 0] = 9  # outside the crop
    np.testing.assert_allclose(Preprocessor((4, 2, 2))(bands), 1)


BANDS = np.uint8([[[10, 20, 30, 40, 50]]])


@pytest.mark.parametrize(
    ("channels", "shown"),
    [
        (None, [10, 20, 30]),
        ((4, 2, 0), [50, 30, 10]),
        ((3,), [40, 40, 40]),
        ((0, 4), [30, 30, 30]),  # their mean
        ((0, 1, 2, 3, 4), [30, 30, 30]),
    ],
)
def test_the_channels_that_make_a_picture_are_chosen(channels, shown):
    p = Preprocessor((5, 1, 1), picture_channels=channels)
    assert p.picture(BANDS)[0, 0].tolist() == shown
    assert p.show(p(BANDS))[0, 0].tolist() == shown


def test_they_are_counted_before_channels_are_swapped():
    p = Preprocessor((5, 1, 1), channel_swap=(4, 3, 2, 1, 0), picture_channels=(0, 1, 3))
    assert p(BANDS).ravel().tolist() == [50, 40, 30, 20, 10]
    assert p.show(p(BANDS))[0, 0].tolist() == [10, 20, 40]
    one = np.float32([0, 0, 0, 0, 2]).reshape(5, 1, 1)  # the file's first channel
    assert p.show_symmetric(one)[0, 0].tolist() == [255, 128, 128]


@pytest.mark.parametrize("channels", [(), (5,), (0, 1, -1)])
def test_channels_that_there_are_not(channels):
    with pytest.raises(ImageError, match=r"must name some of the input's 5 channels, from 0 to 4"):
        Preprocessor((5, 1, 1), picture_channels=channels)


@pytest.mark.parametrize(("channels", "words"), [(4, "the first three as"), (2, "the first one")])
def test_the_channels_shown_of_other_inputs_are_reported_once(channels, words, caplog):
    preprocess._say_what_is_shown.cache_clear()
    for _ in range(2):
        Preprocessor((channels, 1, 1)).show(np.zeros((channels, 1, 1), np.float32))
    (said,) = caplog.messages
    assert f"the net's input has {channels} channels; pictures show {words}" in said
    assert "--picture-channels" in said
    Preprocessor((3, 1, 1)).show(np.zeros((3, 1, 1), np.float32))
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("image", "channels", "shown"),
    [
        (np.uint8([[[1, 2, 3]]]), 3, [1, 2, 3]),
        (np.uint8([[[1, 2, 3, 9]]]), 3, [1, 2, 3]),
        (np.uint8([[[1, 2, 3]]]), 1, [1, 2, 3]),  # a gray net's picture may have colors
        (np.uint8([[[7]]]), 3, [7, 7, 7]),
        (np.uint8([[7]]), 1, [7, 7, 7]),
        (np.uint16([[[0x01FF, 0x0200, 0xFFFF]]]), 3, [1, 2, 255]),
        (np.float32([[[0, 0.5, 1]]]), 3, [0, 128, 255]),
        (np.float32([[[0, 51, 510, 1]]]), 4, [0, 51, 255]),
    ],
)
def test_an_image_of_a_source_as_a_picture(image, channels, shown):
    found = Preprocessor((channels, 1, 1)).picture(image)
    assert found.dtype == np.uint8
    assert found[0, 0].tolist() == shown


# -- resize, then cut the center ------------------------------------------------------------------


def test_an_image_equal_to_the_mean_image_is_exactly_zero() -> None:
    """Caffe cuts the same center out of both: 14 of 256 rows above 227."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (256, 256, 3), np.uint8)
    mean = picture[..., ::-1].transpose(2, 0, 1).astype(np.float32)  # BGR, channels first
    p = Preprocessor((3, 227, 227), mean, resize_to=(256, 256))
    np.testing.assert_array_equal(p(picture), 0)
    assert p.region(256, 256) == (slice(14, 241), slice(14, 241))
    assert np.abs(Preprocessor((3, 227, 227), mean)(picture)).max() > 10


def test_resizing_then_cutting_is_what_the_two_steps_give_by_hand() -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (90, 120, 3), np.uint8)
    p = Preprocessor((3, 20, 24), 0, resize="stretch", resize_to=(30, 40))
    whole = Preprocessor((3, 30, 40), 0, resize="stretch")(picture)
    np.testing.assert_array_equal(p(picture), whole[:, 5:25, 8:32])
    assert p.region(90, 120) == (slice(15, 75), slice(24, 96))
    assert p.for_shape(35, 24).resize_to is None  # nothing is left to cut
    with pytest.raises(ImageError, match=r"resize_to must be .* at least the input's 20 x 24"):
        Preprocessor((3, 20, 24), 0, resize_to=(19, 30))
