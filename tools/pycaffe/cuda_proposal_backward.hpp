// Included before the sources' proposal_layer.cu by CMakeLists.txt, so that it stays unpatched.
//
// That file instantiates ProposalLayer::Backward_gpu and no file defines it, which today's nvcc
// refuses. On the CPU the layer's backward pass does nothing; here it is the same for the GPU.

#ifndef DEEPVIS_CAFFE_CUDA_PROPOSAL_BACKWARD_HPP_
#define DEEPVIS_CAFFE_CUDA_PROPOSAL_BACKWARD_HPP_

#include <vector>

#include "caffe/layers/proposal_layer.hpp"

namespace caffe {

template <typename Dtype>
void ProposalLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
    const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {}

}  // namespace caffe

#endif  // DEEPVIS_CAFFE_CUDA_PROPOSAL_BACKWARD_HPP_
