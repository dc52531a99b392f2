// Adam over all parameters in one launch: elementwise, four streams read, three written, 16 bytes at a time.
// The schedule's step is read on the device, so that a recorded launch takes the next one whenever it is
// replayed.
#include "kernels/optimiser/adam.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "kernels/gpu/gpu.h"

namespace tvmap::cuda {
namespace {

/// The parameters with their moments, and how many of them go in vectors of four: all but the last few, none
/// where a pointer is not aligned.
struct Parameters {
    float* w;
    const float* gradient;
    float *m, *v;
    std::int64_t count, vectors;
};

__device__ void update(const AdamStep& s, float& w, float g, float& m, float& v) {
    m = __fmaf_rn(s.decay1, m, s.gain1 * g);
    v = __fmaf_rn(s.decay2, v, s.gain2 * g * g);
    const float root = __fmaf_rn(__fsqrt_rn(v), s.root_gain, s.eps);
    w = __fmaf_rn(-s.rate, __fdiv_rn(m, root), w);
}

__device__ void update_all(const AdamStep& s, const Parameters& p) {
    const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x, rest = 4 * p.vectors + i;
    if (i < p.vectors) {
        const float4 g = reinterpret_cast<const float4*>(p.gradient)[i];
        float4& to_w = reinterpret_cast<float4*>(p.w)[i];
        float4& to_m = reinterpret_cast<float4*>(p.m)[i];
        float4& to_v = reinterpret_cast<float4*>(p.v)[i];
        float4 w = to_w, m = to_m, v = to_v;
        update(s, w.x, g.x, m.x, v.x);
        update(s, w.y, g.y, m.y, v.y);
        update(s, w.z, g.z, m.z, v.z);
        update(s, w.w, g.w, m.w, v.w);
        to_w = w, to_m = m, to_v = v;
    }
    if (rest < p.count) update(s, p.w[rest], p.gradient[rest], p.m[rest], p.v[rest]);
}

__global__ void adam_step_kernel(AdamStep step, Parameters parameters) { update_all(step, parameters); }

__global__ void scheduled_adam_step_kernel(const AdamStep* steps, const std::uint32_t* counter,
                                           Parameters parameters) {
    update_all(steps[*counter], parameters);
}

constexpr unsigned threads = 256;

Parameters parameters_of(std::int64_t count, float* w, const float* gradient, float* m, float* v) {
    bool aligned = true;
    for (const float* p :
         {static_cast<const float*>(w), gradient, static_cast<const float*>(m), static_cast<const float*>(v)})
        aligned = aligned && reinterpret_cast<std::uintptr_t>(p) % sizeof(float4) == 0;
    return {w, gradient, m, v, count, aligned ? count / 4 : 0};
}

/// Blocks for a thread per vector; what is left over is fewer than four, or all of them.
unsigned blocks_of(const Parameters& p) {
    return gpu::blocks_for(std::max(p.vectors, p.count - 4 * p.vectors), threads);
}

}  // namespace

void adam_step(gpu::Stream stream, const Adam& adam, std::int64_t count, float* w, const float* gradient,
               float* m, float* v) {
    if (count == 0) return;
    const Parameters parameters = parameters_of(count, w, gradient, m, v);
    gpu::launch(stream, {.name = "adam_step_kernel", .grid = blocks_of(parameters), .block = threads},
                adam_step_kernel, AdamStep(adam), parameters);
}

void adam_step(gpu::Stream stream, const AdamStep* steps, const std::uint32_t* counter, std::int64_t count,
               float* w, const float* gradient, float* m, float* v) {
    if (count == 0) return;
    const Parameters parameters = parameters_of(count, w, gradient, m, v);
    gpu::launch(stream,
                {.name = "scheduled_adam_step_kernel", .grid = blocks_of(parameters), .block = threads},
                scheduled_adam_step_kernel, steps, counter, parameters);
}

}  // namespace tvmap::cuda
