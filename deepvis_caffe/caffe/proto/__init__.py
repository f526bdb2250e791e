"""``caffe.proto``: the messages of Caffe's model format, in ``caffe.proto.caffe_pb2``."""
