// Compiled into a CUDA build by CMakeLists.txt.
//
// The sources add six layers to Caffe 1.0 that have no CUDA file. They declare a GPU pass that is
// defined for CPU_ONLY alone, so without this file a CUDA build could not be imported. Here their
// GPU pass is their CPU pass, which is what Caffe's own Layer does where a layer has no GPU code.

#include <vector>

#include "caffe/layers/hardsigmoid_layer.hpp"
#include "caffe/layers/hardswish_layer.hpp"
#include "caffe/layers/maxunpool_layer.hpp"
#include "caffe/layers/pixelshuffle_layer.hpp"
#include "caffe/layers/relu6_layer.hpp"
#include "caffe/layers/upsample_layer.hpp"

#define RUN_ON_CPU(LAYER)                                                                      \
  template <typename Dtype>                                                                    \
  void LAYER<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,                           \
                                 const vector<Blob<Dtype>*>& top) {                            \
    this->Forward_cpu(bottom, top);                                                            \
  }                                                                                            \
  template <typename Dtype>                                                                    \
  void LAYER<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,                             \
                                  const vector<bool>& propagate_down,                          \
                                  const vector<Blob<Dtype>*>& bottom) {                        \
    this->Backward_cpu(top, propagate_down, bottom);                                           \
  }                                                                                            \
  INSTANTIATE_LAYER_GPU_FUNCS(LAYER)

namespace caffe {

RUN_ON_CPU(HardSigmoidLayer);
RUN_ON_CPU(HardSwishLayer);
RUN_ON_CPU(MaxUnPoolLayer);
RUN_ON_CPU(PixelShuffleLayer);
RUN_ON_CPU(ReLU6Layer);
RUN_ON_CPU(UpsampleLayer);

}  // namespace caffe
