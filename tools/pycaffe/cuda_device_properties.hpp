// Included before Caffe's common.cpp by CMakeLists.txt, so that the file itself stays unpatched.
//
// CUDA 13 dropped three members of cudaDeviceProp, which Caffe::DeviceQuery() prints. The values
// are still there as device attributes; this gives them back to that one file.

#ifndef DEEPVIS_CAFFE_CUDA_DEVICE_PROPERTIES_HPP_
#define DEEPVIS_CAFFE_CUDA_DEVICE_PROPERTIES_HPP_

#include <cuda_runtime.h>

#if CUDART_VERSION >= 13000

struct PropertiesBefore13 : cudaDeviceProp {
  int clockRate = 0;
  int deviceOverlap = 0;
  int kernelExecTimeoutEnabled = 0;
};

inline cudaError_t cudaGetDeviceProperties(PropertiesBefore13* properties, int device) {
  cudaDeviceProp* known = properties;
  cudaError_t status = cudaGetDeviceProperties(known, device);
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&properties->clockRate, cudaDevAttrClockRate, device);
  }
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&properties->deviceOverlap, cudaDevAttrGpuOverlap, device);
  }
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&properties->kernelExecTimeoutEnabled,
                                    cudaDevAttrKernelExecTimeout, device);
  }
  return status;
}

#define cudaDeviceProp PropertiesBefore13

#endif  // CUDART_VERSION

#endif  // DEEPVIS_CAFFE_CUDA_DEVICE_PROPERTIES_HPP_
