"""What forks of Caffe add to its net descriptions, beyond what the schema's messages say.

``FORK_V1_TYPES`` has the layer types of the old form ``layers { type: NAME }`` that stock Caffe
does not know, with the name of the same layer in today's form ``layer { type: "Name" }``: the one
under which the fork registers the layer's class. The forks are those of DeepLab (version 1),
DeconvNet, C3D (version 1.0), HED, CRF-RNN and Deformable ConvNets, and those of W. Liu (branch
fcn), Y. Xiong, happynear (caffe-windows), eric612 (MobileNet-YOLO), ALISCIFP (Spatial Transformer)
and zhanglaplace. MULTI_STAGE_MEANFIELD, PRELU, PYTHON, ROI_POOLING, TOPK and UPSAMPLE are read by
name although no public schema gives them a number.

``FORK_V1_NUMBERS`` says which types a number may stand for in a binary file, stock's meaning
included where a fork gave the number another one. Only the fork that wrote the file can tell.
"""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor

from deepvis_caffe.model.schema_pb2 import LayerParameter

FIRST_FORK_NUMBER = 20000  # of the fields and enum values that stock Caffe does not have

FORK_V1_TYPES = {
    "ACCURACY_TREE": "AccuracyTree",
    "ADAPTIVE_BIAS_CHANNEL": "AdaptiveBiasChannel",
    "BATCH_NORM": "BatchNorm",
    "BIAS_CHANNEL": "BiasChannel",
    "BIN_ACCURACY": "BinaryAccuracy",
    "BN": "BN",
    "CENSOR_LABEL": "CensorLabel",
    "CENTER_LOSS": "CenterLoss",
    "CHANNEL_AGGREGATOR": "ChannelAggregator",
    "COMPACT_DATA": "CompactData",
    "CONADD": "Conadd",
    "CONVOLUTION3D": "Convolution3D",
    "CROP": "Crop",
    "DECONVOLUTION3D": "Deconvolution3D",
    "DEFORMABLECONVOLUTION": "DeformableConvolution",
    "DENSE_CRF": "DenseCRF",
    "DOMINANT_CHANNEL": "DominantChannel",
    "DOWN_SAMPLING": "DownSampling",
    "DROPOUT_CHANNEL": "DropoutChannel",
    "ELTWISE_ACCURACY": "EltwiseAccuracy",
    "ELTWISE_AFFINE": "EltwiseAffine",
    "ELTWISE_PRODUCT": "EltwiseProduct",
    "GAIN_CHANNEL": "GainChannel",
    "HISTOGRAM": "Histogram",
    "IGNORE_OVERLAY": "IgnoreOverlay",
    "IMAGE_SEG_DATA": "ImageSegData",
    "INSANITY": "Insanity",
    "INTERP": "Interp",
    "LABEL_TRANSFORM": "LabelTransform",
    "LOCAL": "Local",
    "MAP_REGRESSION_LOSS": "MapRegressionLoss",
    "MAT_READ": "MatRead",
    "MAT_WRITE": "MatWrite",
    "MULTI_LABEL_ACCURACY": "MultiLabelAccuracy",
    "MULTI_LABEL_LOSS": "MultiLabelLoss",
    "MULTI_STAGE_MEANFIELD": "MultiStageMeanfield",
    "NORMALIZE": "Normalize",
    "ONEHOT": "OneHot",
    "PADDING": "Padding",
    "PARSE_EVALUATE": "ParseEvaluate",
    "PARSE_OUTPUT": "ParseOutput",
    "PCA_GET_COORD": "PCAGetCoord",
    "POOLING3D": "Pooling3D",
    "PRELU": "PReLU",
    "PYTHON": "Python",
    "RANGE_LOSS": "RangeLoss",
    "RED_ACCURACY": "RedAccuracy",
    "RED_SOFTMAX_LOSS": "RedSoftmaxWithLoss",
    "RELATIVE_ERROR": "RelativeError",
    "RELU6": "ReLU6",
    "ROIPOOLING": "ROIPooling",
    "ROI_POOLING": "ROIPooling",
    "SEG_ACCURACY": "SegAccuracy",
    "SEG_BINARY_CTRL": "SegBinaryCtrl",
    "SEG_CTRL_CLS": "SegCtrlCls",
    "SELECT_SEG_BINARY": "SelectSegBinary",
    "SOFTMAX_LOSS_TREE": "SoftmaxWithLossTree",
    "TILED_CONVOLUTION": "TiledConvolution",
    "TILED_INNERPRODUCT": "TiledInnerProduct",
    "TOPK": "TopK",
    "TRANSFORM_ACCURACY": "TransformAccuracy",
    "TRANSFORM_SOFTMAX_LOSS": "TransformSoftmaxWithLoss",
    "TRIPLET_LOSS": "TripletLoss",
    "UNIQUE_LABEL": "UniqueLabel",
    "UNPOOLING": "Unpooling",
    "UPSAMPLE": "Upsample",
    "VIDEO_DATA": "VideoData",
    "VIDEO_SEGMENTATION_DATA": "VideoSegmentationData",
    "VIDEO_WITH_VOXEL_TRUTH_DATA": "VideoWithVoxelTruthData",
    "VOLUME_DATA": "VolumeData",
    "VOXEL_CUSTOM_LOSS": "VoxelCustomLoss",
    "VOXEL_SOFTMAX": "VoxelSoftmax",
    "VOXEL_SOFTMAX_LOSS": "VoxelSoftmaxWithLoss",
    "WINDOW_CLS_DATA": "WindowClsData",
    "WINDOW_INST_SEG_DATA": "WindowInstSegData",
    "WINDOW_SEG_BINARY": "WindowSegBinary",
    "WINDOW_SEG_DATA": "WindowSegData",
}

FORK_V1_NUMBERS = {
    25: ("ELTWISE", "ELTWISE_PRODUCT"),
    30: ("ARGMAX", "CONVOLUTION3D"),
    31: ("POOLING3D", "THRESHOLD"),
    32: ("DUMMY_DATA", "VOLUME_DATA"),
    33: ("SLICE", "VIDEO_DATA"),
    34: ("DECONVOLUTION3D", "MVN"),
    35: ("ABSVAL", "VIDEO_SEGMENTATION_DATA"),
    36: ("SILENCE", "VOXEL_SOFTMAX"),
    37: ("CONTRASTIVE_LOSS", "VOXEL_SOFTMAX_LOSS"),
    38: ("EXP", "LABEL_TRANSFORM", "VIDEO_WITH_VOXEL_TRUTH_DATA"),
    39: ("DECONVOLUTION", "IMAGE_SEG_DATA", "TRANSFORM_SOFTMAX_LOSS", "VOXEL_CUSTOM_LOSS"),
    40: (
        "CENTER_LOSS",
        "CROP",
        "DOWN_SAMPLING",
        "PCA_GET_COORD",
        "SEG_ACCURACY",
        "TRANSFORM_ACCURACY",
    ),
    41: ("ACCURACY_TREE", "ELTWISE_ACCURACY", "INTERP", "LOCAL", "PARSE_OUTPUT", "RANGE_LOSS"),
    42: ("BN", "PADDING", "PARSE_EVALUATE", "SOFTMAX_LOSS_TREE", "UNPOOLING"),
    43: ("BN", "COMPACT_DATA", "MAT_WRITE", "NORMALIZE"),
    44: ("INSANITY", "MAT_READ", "RED_SOFTMAX_LOSS"),
    45: ("DENSE_CRF", "MULTI_LABEL_ACCURACY", "RED_ACCURACY", "TRIPLET_LOSS"),
    46: ("DOMINANT_CHANNEL", "IMAGE_SEG_DATA", "MULTI_LABEL_LOSS", "ROIPOOLING"),
    47: ("BATCH_NORM", "BIAS_CHANNEL", "WINDOW_SEG_DATA"),
    48: ("ELTWISE_AFFINE", "MAP_REGRESSION_LOSS", "UNIQUE_LABEL", "WINDOW_INST_SEG_DATA"),
    49: ("BIN_ACCURACY", "CENSOR_LABEL", "TILED_INNERPRODUCT"),
    50: ("ADAPTIVE_BIAS_CHANNEL", "CONADD", "TILED_CONVOLUTION", "WINDOW_CLS_DATA"),
    51: ("CHANNEL_AGGREGATOR", "WINDOW_SEG_BINARY"),
    52: ("IGNORE_OVERLAY", "SELECT_SEG_BINARY"),
    53: ("DROPOUT_CHANNEL", "HISTOGRAM"),
    54: ("RELATIVE_ERROR", "SEG_BINARY_CTRL"),
    55: ("GAIN_CHANNEL", "SEG_CTRL_CLS"),
    56: ("ONEHOT",),
    61: ("RELU6",),
    99: ("DEFORMABLECONVOLUTION",),
}

# Fields of forks whose meaning is known here, as "Message" or "Message.field"; others are read and
# have no effect, which a warning says. Whoever gives one a meaning adds it.
UNDERSTOOD = frozenset(
    {
        "ChannelScaleParameter",
        "ContinuationIndicatorParameter",
        "CorrelationParameter",
        "CropCenterParameter",
        "DetectionOutputParameter.background_label_id",
        "DetectionOutputParameter.biases",
        "DetectionOutputParameter.code_type",
        "DetectionOutputParameter.confidence_threshold",
        "DetectionOutputParameter.coords",
        "DetectionOutputParameter.keep_top_k",
        "DetectionOutputParameter.nms_threshold",
        "DetectionOutputParameter.num_box",
        "DetectionOutputParameter.num_classes",
        "DetectionOutputParameter.objectness_score",
        "DetectionOutputParameter.share_location",
        "DetectionOutputParameter.side",
        "DetectionOutputParameter.variance_encoded_in_target",
        "DetectionOutputParameter.visualize",
        "FlipParameter",
        "FlowWarpParameter",
        "GatherParameter",
        "GroupNormParameter",
        "HardSigmoidParameter",
        "InterpParameter",
        "LayerParameter.detection_output_param",
        "LayerParameter.norm_param",
        "LayerParameter.normalize_param",
        "LayerParameter.prior_box_param",
        "LayerParameter.proposal_param",
        "LayerParameter.relu6_param",
        "LayerParameter.roi_pooling_param",
        "LocalParameter",
        "LRNParameter.deconv_ignore",
        "LSTMParameter",
        "NonMaximumSuppressionParameter",
        "NormalizeParameter.across_spatial",
        "NormalizeParameter.channel_shared",
        "NormalizeParameter.eps",
        "NormalizeParameter.normalize_type",
        "NormalizeParameter.scale_filler",
        "PermuteParameter",
        "PoolingParameter.ceil_mode",
        "PoolingParameter.kernel_shape",
        "PoolingParameter.pad_shape",
        "PoolingParameter.stride_shape",
        "PriorBoxParameter.aspect_ratio",
        "PriorBoxParameter.clip",
        "PriorBoxParameter.denser_prior_boxes",
        "PriorBoxParameter.flip",
        "PriorBoxParameter.img_h",
        "PriorBoxParameter.img_size",
        "PriorBoxParameter.img_w",
        "PriorBoxParameter.max_size",
        "PriorBoxParameter.min_size",
        "PriorBoxParameter.offset",
        "PriorBoxParameter.reduce_boxes",
        "PriorBoxParameter.step",
        "PriorBoxParameter.step_h",
        "PriorBoxParameter.step_w",
        "PriorBoxParameter.variance",
        "ProposalParameter.base_size",
        "ProposalParameter.feat_stride",
        "ProposalParameter.min_size",
        "ProposalParameter.nms_thresh",
        "ProposalParameter.post_nms_topn",
        "ProposalParameter.pre_nms_topn",
        "ProposalParameter.ratio",
        "ProposalParameter.scale",
        "PSROIAlignParameter",
        "PSROIPoolingParameter",
        "ReLUParameter.threshold",
        "ReorgParameter",
        "ResampleParameter",
        "ReverseParameter",
        "ROIPoolingParameter.pad_ratio",
        "ROIPoolingParameter.pooled_h",
        "ROIPoolingParameter.pooled_w",
        "ROIPoolingParameter.spatial_scale",
        "ROIWarpingParameter",
        "ShuffleChannelParameter",
        "UnpoolingParameter",
        "UpsampleParameter",
        "YoloDetectionOutputParameter",
        "Yolov3DetectionOutputParameter",
    }
)


def is_understood(field: FieldDescriptor) -> bool:
    """Whether a field of the schema is stock Caffe's, or a fork's that has an effect here."""
    if _message(field) == "V1LayerParameter":  # it has all of V2's, under other numbers
        field = LayerParameter.DESCRIPTOR.fields_by_name.get(field.name, field)
    message, own = _message(field), field.message_type
    return field.number < FIRST_FORK_NUMBER or not UNDERSTOOD.isdisjoint(
        {message, f"{message}.{field.name}", own.name if own else ""}
    )


def _message(field: FieldDescriptor) -> str:
    assert field.containing_type is not None  # no field of the schema is an extension
    return field.containing_type.name
