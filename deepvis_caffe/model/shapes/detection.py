"""Shape rules of detectors' layers: prior boxes and detections.

The number of detections depends on the values. A rule gives the shape of the top before the layer
runs, which in Caffe has one row.
"""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.model.python_layers import proposal_options
from deepvis_caffe.model.schema_pb2 import (
    DetectionOutputParameter,
    LayerParameter,
    PriorBoxParameter,
    RegionLossParameter,
)
from deepvis_caffe.model.shapes.registry import Outcome, Shape, count, legacy, require, rule

SSD_ROW: Shape = (1, 1, 1, 7)  # image, label, score, xmin, ymin, xmax, ymax
SAME_RATIO = 1e-6  # aspect ratios that differ by less are the same, as in SSD


@rule("PriorBox", "PriorBoxClustered", bottoms=(2, 2))
def prior_box(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Boxes and variances side by side, (1, 2, H * W * boxes at a position * 4).

    A PriorBoxClustered gives the width and the height of each box (OpenVINO).
    """
    options, (_, _, height, width) = param.prior_box_param, legacy(bottoms[0])
    legacy(bottoms[1])
    boxes = _clustered(options) if param.type == "PriorBoxClustered" else _sized(options)
    variance = list(options.variance)
    require(
        len(variance) in (0, 1, 4) and min(variance, default=1) > 0,
        f"takes no variance, one, or four, all positive; got {variance}",
    )
    for both, one, other in (("img_size", "img_h", "img_w"), ("step", "step_h", "step_w")):
        given = [name for name in (both, one, other) if options.HasField(name)]
        require(
            given in ([], [both], [one, other]) and all(getattr(options, n) > 0 for n in given),
            f"takes either {both} or both {one} and {other}, positive",
        )
    return Outcome([(1, 2, height * width * boxes * 4)])


def _sized(options: PriorBoxParameter) -> int:
    """The number of boxes of a PriorBox at a position."""
    least, most = list(options.min_size), list(options.max_size)
    require(len(least) > 0 and min(least) > 0, f"min_size must be given and positive, got {least}")
    require(
        len(most) in (0, len(least)) and all(a < b for a, b in zip(least, most, strict=False)),
        f"takes one max_size, above it, for each min_size {least}, or none; got {most}",
    )
    ratios = len(aspect_ratios(options))
    return (ratios * len(least) + len(most)) * (2 if options.denser_prior_boxes else 1)


def _clustered(options: PriorBoxParameter) -> int:
    """The number of boxes of a PriorBoxClustered."""
    sizes = [*options.width, *options.height]
    require(
        len(options.width) == len(options.height) > 0 and min(sizes) > 0,
        f"takes a width and a height for each box, all positive; got {list(options.width)} and "
        f"{list(options.height)}",
    )
    return len(options.width)


def aspect_ratios(options: PriorBoxParameter) -> list[float]:
    """The aspect ratios of a PriorBox layer in order: 1, and each given one with its inverse."""
    ratios = [1.0]
    for ratio in options.aspect_ratio:
        require(ratio > 0, f"aspect_ratio must be positive, got {ratio}")
        if all(abs(ratio - other) >= SAME_RATIO for other in ratios):
            ratios += [ratio, 1 / ratio] if options.flip else [ratio]
    return ratios


@rule("DetectionOutput", bottoms=(1, 5))
def detection_output(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Locations (N, P * 4) or (N, P * classes * 4), scores (N, P * classes), priors (1, 2, P * 4).

    caffe-yolov2 has a layer of this name with one bottom, a map of cells; so has caffe_yolo_v2,
    where `num_classes` is called `classes`.
    """
    options = param.detection_output_param
    classes = found_classes(options, len(bottoms))
    if len(bottoms) == 1:
        cells(bottoms[0], options.num_box, 5 + classes, options.biases)
        require(
            bottoms[0][2:] == (options.side,) * 2,
            f"takes a map of side x side cells, {options.side}, got {bottoms[0][2:]}",
        )
        return Outcome([SSD_ROW])
    require(len(bottoms) >= 3, f"takes locations, scores and priors; got {len(bottoms)} bottoms")
    locations, scores, priors = (legacy(shape) for shape in bottoms[:3])
    boxes = priors[2] // 4
    located = 1 if options.share_location else classes
    for name, shape, each in (("locations", locations, located * 4), ("scores", scores, classes)):
        require(
            shape[1] == boxes * each,
            f"{boxes} priors with {each} {name} each need {boxes * each} {name}, got {shape[1]}",
        )
    require(
        locations[0] == scores[0],
        f"locations and scores must have the same batch size, got {locations[0]} and {scores[0]}",
    )
    if len(bottoms) > 3 and not options.visualize:
        refined = [count(shape[1:]) for shape in bottoms[3:]]
        require(
            refined in ([2 * boxes], [2 * boxes, 4 * boxes]),
            f"RefineDet's {boxes} priors need {2 * boxes} scores and {4 * boxes} locations of the "
            f"first stage, got {refined}",
        )
    nms = options.nms_param
    require(nms.nms_threshold >= 0, f"nms_threshold must be 0 or more, got {nms.nms_threshold}")
    require(0 < nms.eta <= 1, f"eta must be above 0 and at most 1, got {nms.eta}")
    return Outcome([SSD_ROW])


def found_classes(options: DetectionOutputParameter, bottoms: int) -> int:
    """The number of classes of a DetectionOutput with this number of bottoms."""
    if bottoms == 1 and options.HasField("classes"):
        return options.classes
    require(options.HasField("num_classes"), "num_classes must be given")
    return options.num_classes


@rule("YoloDetectionOutput", bottoms=(1, 2))
def yolo_detection_output(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """One or two square maps of YOLO v2's cells, with the same boxes."""
    options = param.yolo_detection_output_param
    require(options.HasField("num_classes"), "num_classes must be given")
    for shape in bottoms:
        cells(shape, options.num_box, 5 + options.num_classes, options.biases)
        require(shape[2] == shape[3], f"takes as many rows as columns of cells, got {shape[2:]}")
    require(len({shape[0] for shape in bottoms}) == 1, "its bottoms must have one batch size")
    return Outcome([SSD_ROW])


@rule("Yolov3DetectionOutput", bottoms=(1, None))
def yolov3_detection_output(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Maps of YOLO v3's cells, each with its own boxes: those that `mask` selects of `biases`."""
    options, groups = param.yolov3_detection_output_param, len(bottoms)
    require(options.HasField("num_classes"), "num_classes must be given")
    require(
        options.mask_group_num == groups and len(options.anchors_scale) >= groups,
        f"mask_group_num must be the number of its bottoms, {groups}, and as many anchors_scale be "
        f"given; got {options.mask_group_num} and {len(options.anchors_scale)}",
    )
    require(
        len(options.mask) // groups >= options.num_box,
        f"needs one mask entry for each of the {options.num_box} anchors of its {groups} bottoms, "
        f"got {len(options.mask)}",
    )
    require(
        all(2 * box + 1 < len(options.biases) for box in options.mask),
        f"mask refers to anchors beyond the {len(options.biases)} biases",
    )
    each = (9 if options.gaussian_box else 5) + options.num_classes
    for shape in bottoms:
        cells(shape, options.num_box, each, [0] * 2 * options.num_box)
    require(len({shape[0] for shape in bottoms}) == 1, "its bottoms must have one batch size")
    return Outcome([SSD_ROW])


@rule("Region", tops=(1, 2), in_place=False)
def region(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """A map of YOLO v2's cells as probabilities, (N, C, H, W).

    With two tops, as in zhang-xin's Caffe, the boxes (B, H, W, 4) and scores (B, H, W, classes + 1)
    of one image.
    """
    (shape,) = bottoms
    if len(param.top) == 1:
        require(
            not param.HasField("region_loss_param"),
            "with region_loss_param it has two tops, boxes and their scores",
        )
        one = param.region_param
        boxes = region_boxes(param)
        cells(shape, boxes, one.coords + 1 + one.classes, [0] * 2 * boxes)
        return Outcome([shape])
    options, side = param.region_loss_param, (param.region_loss_param.side,) * 2
    classes = region_classes(options)
    require(options.coords == 4, f"takes boxes of 4 coords, not {options.coords}")
    cells(shape, options.num, 5 + classes, options.biases)
    require(shape[0] == 1, f"takes one image at a time, got {shape[0]}")
    require(shape[2:] == side, f"takes a map of side x side cells, {side}, got {shape[2:]}")
    return Outcome([(options.num, *side, 4), (options.num, *side, classes + 1)])


def region_boxes(param: LayerParameter) -> int:
    """The number of boxes per cell of a Region with one top."""
    options = param.region_param
    return options.num if options.HasField("num") else options.boxes_of_each_grid


def region_classes(options: RegionLossParameter) -> int:
    """The number of classes of a Region with two tops."""
    return options.num_class if options.HasField("num_class") else options.num_classes


@rule("RegionOutput", bottoms=(2, 2), tops=(2, 2))
def region_output(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """MSRCCS: boxes (1, B * H * W, 4) and scores (1, B * H * W, classes + 1).

    The bottoms are a map of cells, and the image's height and width.
    """
    options, (shape, size) = param.region_output_param, bottoms
    boxes = len(options.biases) // 2
    require(not options.tree and not options.map, "class trees (tree and map) are not supported")
    require(options.coords == 4, f"takes boxes of 4 coords, not {options.coords}")
    cells(shape, boxes, 5 + options.classes, options.biases)
    require(count(size) >= 2, f"its second bottom must hold height and width, got {size}")
    require(shape[0] == 1, f"takes one image at a time, got {shape[0]}")
    found = boxes * count(shape[2:])
    return Outcome([(1, found, 4), (1, found, options.classes + 1)])


def cells(shape: Shape, boxes: int, each: int, biases: Sequence[float]) -> None:
    """Check a map of YOLO's cells: `each` channels and two biases per box."""
    require(len(shape) == 4, f"takes bottoms of 4 axes, got {len(shape)}")
    require(
        boxes > 0 and shape[1] == boxes * each,
        f"{boxes} boxes with {each} channels each need {boxes * each} channels, its bottom has "
        f"{shape[1]}",
    )
    require(
        len(biases) >= 2 * boxes,
        f"needs the width and height of {boxes} anchors as biases, got {len(biases)} numbers",
    )


@rule("Proposal", bottoms=(3, 3), tops=(1, 2))
def proposal(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Regions (N * post_nms_topn, 5), and a second top with their scores."""
    options = param.proposal_param
    require(
        len(options.ratio) > 0 and len(options.scale) > 0,
        "ratio and scale must be given, each once or more",
    )
    check_anchors(bottoms, len(options.ratio) * len(options.scale))
    rows = bottoms[0][0] * options.post_nms_topn
    return Outcome([(rows, 5), (rows,)][: len(param.top)])


@rule("ProposalLayer", bottoms=(3, 3), tops=(1, 2))
def proposal_layer(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """py-faster-rcnn's Python layer: regions of one image, and a second top with their scores."""
    options = proposal_options(param.python_param.param_str)
    check_anchors(bottoms, len(options.ratios) * len(options.scales))
    require(bottoms[0][0] == 1, f"takes one image at a time, got {bottoms[0][0]}")
    tops: list[Shape] = [(1, 5), (1, 1, 1, 1)]
    return Outcome(tops[: len(param.top)])


@rule("BoxOutput", bottoms=(1, None), tops=(1, 2))
def box_output(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """MS-CNN: regions (1, 5, 1, 1) from maps of boxes, and a second top with their scores."""
    options = param.box_output_param
    channels = {shape[1] for shape in bottoms if len(shape) == 4}
    require(
        all(len(shape) == 4 and shape[0] == bottoms[0][0] for shape in bottoms)
        and len(channels) == 1
        and min(channels) >= 6,
        "its bottoms must be maps of one batch, of two or more classes and 4 channels each",
    )
    for name in ("field_h", "field_w", "downsample_rate"):
        given = len(getattr(options, name))
        require(
            given == len(bottoms),
            f"needs one {name} for each of {len(bottoms)} bottoms, got {given}",
        )
    require(
        options.field_whr >= 1 and options.field_xyr > 0,
        f"field_whr {options.field_whr} must be 1 or more, field_xyr {options.field_xyr} positive",
    )
    check_normalization(param)
    tops: list[Shape] = [(1, 5, 1, 1), (1, 6, 1, 1)]
    return Outcome(tops[: len(param.top)])


@rule("DecodeBBox", bottoms=(2, 2))
def decode_bbox(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """MS-CNN: regions (R, 5), moved by offsets (R, 8) for two classes."""
    offsets, regions = bottoms
    check_regions(regions)
    require(
        len(offsets) > 1 and offsets[0] == regions[0] and count(offsets[1:]) == 8,
        f"takes 8 offsets for each of its {regions[0]} regions, got {offsets}",
    )
    check_normalization(param)
    return Outcome([regions])


def check_normalization(param: LayerParameter) -> None:
    """Check that offsets are normalized by four means and standard deviations, or not at all."""
    given = [len(param.bbox_reg_param.bbox_mean), len(param.bbox_reg_param.bbox_std)]
    require(
        not all(given) or given == [4, 4],
        f"takes four bbox_mean and four bbox_std, got {given[0]} and {given[1]}",
    )


def check_anchors(bottoms: Sequence[Shape], boxes: int) -> None:
    """Check scores (N, 2 A, H, W), offsets (N, 4 A, H, W) and sizes (N, 3 or more)."""
    scores, offsets, sizes = bottoms
    require(
        len(scores) == len(offsets) == 4 and scores[2:] == offsets[2:],
        "its scores and offsets must be maps of one size",
    )
    require(
        (scores[1], offsets[1]) == (2 * boxes, 4 * boxes),
        f"{boxes} anchors need {2 * boxes} scores and {4 * boxes} offsets, got {scores[1]} and "
        f"{offsets[1]}",
    )
    require(
        len(sizes) > 1 and count(sizes[1:]) >= 3,
        f"its third bottom must have rows of height, width and scale of the image, got {sizes}",
    )


@rule("ROIPooling", "ROIAlign", "ROIWarping", bottoms=(2, 2))
def region_pooling(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Maps (N, C, H, W) and regions (R, 5): (R, C, pooled_h, pooled_w), one larger for ROIAlign."""
    maps, regions = bottoms
    require(len(maps) == 4, f"takes maps of 4 axes, got {len(maps)}")
    check_regions(regions)
    if param.type == "ROIAlign":
        require(
            not param.HasField("roi_align_param"),
            "forks disagree on what roi_align_param means, and none follows a published "
            "definition; only MS-CNN's ROIAlign, with roi_pooling_param, is supported",
        )
    pool = param.roi_warping_param if param.type == "ROIWarping" else param.roi_pooling_param
    require(
        pool.pooled_h > 0 and pool.pooled_w > 0,
        f"pooled_h {pool.pooled_h} and pooled_w {pool.pooled_w} must be given and positive",
    )
    corners = param.type == "ROIAlign"
    return Outcome([(regions[0], maps[1], pool.pooled_h + corners, pool.pooled_w + corners)])


@rule("PSROIPooling", "PSROIAlign", bottoms=(2, 2))
def position_sensitive_pooling(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Maps (N, output_dim * G * G, H, W) and regions (R, 5): (R, output_dim, G, G)."""
    maps, regions = bottoms
    require(len(maps) == 4, f"takes maps of 4 axes, got {len(maps)}")
    check_regions(regions)
    pool = param.psroi_align_param if param.type == "PSROIAlign" else param.psroi_pooling_param
    outputs, parts = pool.output_dim, pool.group_size
    require(
        outputs > 0 and parts > 0 and pool.spatial_scale > 0,
        "output_dim, group_size and spatial_scale must be given and positive",
    )
    require(
        maps[1] == outputs * parts**2,
        f"output_dim {outputs} in {parts} x {parts} parts needs {outputs * parts**2} channels, its "
        f"bottom has {maps[1]}",
    )
    if param.type == "PSROIAlign":
        require(param.psroi_align_param.sample_num > 0, "sample_num must be positive")
    return Outcome([(regions[0], outputs, parts, parts)])


@rule("DeformablePSROIPooling", bottoms=(2, 3))
def deformable_pooling(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """As position-sensitive pooling; a third bottom, (R, 2 * classes, P, P), moves the parts."""
    (maps, regions, *moves), pool = bottoms, param.deformable_psroi_pooling_param
    require(len(maps) == 4, f"takes maps of 4 axes, got {len(maps)}")
    check_regions(regions)
    outputs, parts = pool.output_dim, pool.group_size
    require(
        outputs > 0 and parts > 0 and pool.spatial_scale > 0 and pool.sample_per_part > 0,
        "output_dim, group_size and spatial_scale must be given, and all be positive",
    )
    require(
        maps[1] == outputs * parts**2,
        f"output_dim {outputs} in {parts} x {parts} parts needs {outputs * parts**2} channels, its "
        f"bottom has {maps[1]}",
    )
    require(
        pool.pooled_size in (0, parts),
        f"a pooled_size {pool.pooled_size} other than its group_size {parts} has no effect in the "
        "Caffe that has this layer; give one number",
    )
    if not pool.no_trans:
        size = pool.part_size
        require(len(moves) == 1, "needs a third bottom, the parts' offsets, or no_trans: true")
        (move,) = moves
        classes = move[1] // 2 if len(move) == 4 else 0
        require(
            size > 0 and move == (regions[0], 2 * classes, size, size) and classes > 0,
            f"its third bottom must have two offsets for each of {size} x {size} parts (part_size) "
            f"of every region, got {move}",
        )
        require(
            outputs % classes == 0, f"output_dim {outputs} cannot be split into {classes} classes"
        )
    return Outcome([(regions[0], outputs, parts, parts)])


@rule("MaskPooling", bottoms=(2, 2))
def mask_pooling(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The first bottom's shape; the second has a mask for each of its maps."""
    maps, masks = bottoms
    require(len(maps) == 4, f"takes maps of 4 axes, got {len(maps)}")
    require(
        masks[:1] == maps[:1] and count(masks) == count((maps[0], *maps[2:])),
        f"needs a mask of {maps[2:]} for each of {maps[0]} maps, got {masks}",
    )
    return Outcome([maps])


@rule("MaskResize", in_place=False)
def mask_resize(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """`output_height` by `output_width`, or scaled by factors (SSTD)."""
    (shape,), options = bottoms, param.mask_resize_param
    require(len(shape) == 4, f"takes a bottom of 4 axes, got {len(shape)}")
    height, width = options.output_height, options.output_width
    if options.factor_height > 0:
        height = int(shape[2] * options.factor_height)
    if options.factor_width > 0:
        width = int(shape[3] * options.factor_width)
    require(
        height > 0 and width > 0,
        f"output_height {height} and output_width {width} must be positive",
    )
    return Outcome([(*shape[:2], height, width)])


def check_regions(shape: Shape) -> None:
    """Check that a bottom has rows (image, x1, y1, x2, y2)."""
    require(
        len(shape) > 1 and count(shape[1:]) == 5,
        f"takes regions as rows of 5 numbers (image, x1, y1, x2, y2), got {shape}",
    )
