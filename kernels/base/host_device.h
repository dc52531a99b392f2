// TVMAP_HOST_DEVICE marks functions that run on the host and on the GPU.
#pragma once

#ifdef __CUDACC__
#define TVMAP_HOST_DEVICE __host__ __device__
#else
#define TVMAP_HOST_DEVICE
#endif
