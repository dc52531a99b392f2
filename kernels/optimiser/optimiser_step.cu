// A thread to a float. Factors and norm are read on the device, so that a recorded launch takes the next ones whenever
// it is replayed.
#include "kernels/optimiser/optimiser_step.h"

#include "kernels/gpu/gpu.h"

namespace tvmap::cuda {
namespace {

constexpr unsigned threads = 256;

__device__ std::int64_t own_place() { return std::int64_t(blockIdx.x) * threads + threadIdx.x; }

__global__ void mean_gradient_kernel(std::int64_t count, float share, float* sum, float* gradient) {
    const std::int64_t i = own_place();
    if (i >= count) return;
    gradient[i] = (sum[i] + gradient[i]) * share;
    sum[i] = 0.0f;
}

__global__ void clip_gradient_kernel(std::int64_t count, double largest, const double* squared_norm,
                                     float* gradient) {
    const std::int64_t i = own_place();
    const double norm = sqrt(*squared_norm);
    if (i < count && norm > largest) gradient[i] *= float(largest / norm);
}

/// A row of blocks to a span.
__global__ void decay_weights_kernel(StepFactors factors, Spans spans, float* w) {
    const std::int64_t i = own_place();
    const Span span = spans.list[blockIdx.y];
    if (i < span.count) w[span.first + i] *= factors.now().keep;
}

__global__ void average_weights_kernel(StepFactors factors, std::int64_t count, const float* w,
                                       float* average) {
    const std::int64_t i = own_place();
    if (i < count) average[i] = __fmaf_rn(factors.now().follow, w[i] - average[i], average[i]);
}

}  // namespace

void mean_gradient(gpu::Stream stream, std::int64_t count, int batches, float* sum, float* gradient) {
    if (count == 0) return;
    gpu::launch(stream,
                {.name = "mean_gradient_kernel", .grid = gpu::blocks_for(count, threads), .block = threads},
                mean_gradient_kernel, count, 1.0f / float(batches), sum, gradient);
}

void clip_gradient(gpu::Stream stream, std::int64_t count, double largest, const double* squared_norm,
                   float* gradient) {
    if (count == 0) return;
    gpu::launch(stream,
                {.name = "clip_gradient_kernel", .grid = gpu::blocks_for(count, threads), .block = threads},
                clip_gradient_kernel, count, largest, squared_norm, gradient);
}

void decay_weights(gpu::Stream stream, StepFactors factors, Spans spans, float* w) {
    if (spans.count == 0 || spans.largest == 0) return;
    gpu::launch(stream,
                {.name = "decay_weights_kernel",
                 .grid = dim3(gpu::blocks_for(spans.largest, threads), unsigned(spans.count)),
                 .block = threads},
                decay_weights_kernel, factors, spans, w);
}

void average_weights(gpu::Stream stream, StepFactors factors, std::int64_t count, const float* w,
                     float* average) {
    if (count == 0) return;
    gpu::launch(stream,
                {.name = "average_weights_kernel", .grid = gpu::blocks_for(count, threads), .block = threads},
                average_weights_kernel, factors, count, w, average);
}

}  // namespace tvmap::cuda
