#include "kernels/machine_peak.h"

#include <algorithm>
#include <type_traits>

#include "kernels/gpu/gpu.h"

namespace tvmap::cuda {
namespace {

constexpr int chains = 8;  // independent, so that the latency of a fused multiply-add (4 cycles) is hidden

__global__ void triad_kernel(std::int64_t quads, const float4* __restrict__ b, const float4* __restrict__ c,
                             float4* __restrict__ a) {
    const std::int64_t stride = std::int64_t(gridDim.x) * blockDim.x;
    for (std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < quads; i += stride) {
        const float4 u = b[i], v = c[i];
        a[i] = make_float4(__fmaf_rn(0.5f, v.x, u.x), __fmaf_rn(0.5f, v.y, u.y), __fmaf_rn(0.5f, v.z, u.z),
                           __fmaf_rn(0.5f, v.w, u.w));
    }
}

__global__ void multiply_add_kernel(int rounds, float* sinks) {
    const std::int64_t thread = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    float v[chains];
    for (int i = 0; i < chains; ++i) v[i] = float(i) + float(threadIdx.x);
    for (int round = 0; round < rounds; ++round)
        for (int i = 0; i < chains; ++i) v[i] = __fmaf_rn(v[i], 0.5f, 0.5f);
    float sum = 0;
    for (int i = 0; i < chains; ++i) sum += v[i];
    sinks[thread] = sum;
}

/// Device memory of this scope.
class Floats {
  public:
    explicit Floats(std::int64_t count)
        : memory_(static_cast<float*>(gpu::allocate(std::size_t(count) * sizeof(float)))) {}
    ~Floats() { gpu::release(memory_); }
    Floats(const Floats&) = delete;
    Floats& operator=(const Floats&) = delete;
    float* data() const { return memory_; }

  private:
    float* memory_;
};

}  // namespace

void triad(gpu::Stream stream, std::int64_t count, const float* b, const float* c, float* a) {
    if (count % 4 != 0) fail("triad: ", count, " floats are no whole vectors of four");
    const auto quads = [](auto* floats) {
        using Float = std::remove_pointer_t<decltype(floats)>;
        return reinterpret_cast<std::conditional_t<std::is_const_v<Float>, const float4*, float4*>>(floats);
    };
    const unsigned most = unsigned(gpu::device().multiprocessors) * 8;
    gpu::launch(stream,
                {.name = "triad_kernel", .grid = dim3(std::min(most, gpu::blocks_for(count / 4, 256)))},
                triad_kernel, count / 4, quads(b), quads(c), quads(a));
}

void multiply_add_chains(gpu::Stream stream, int rounds, std::int64_t threads, float* sinks) {
    if (threads % 256 != 0) fail("multiply_add_chains: ", threads, " threads are no whole blocks of 256");
    gpu::launch(stream, {.name = "multiply_add_kernel", .grid = dim3(unsigned(threads / 256))},
                multiply_add_kernel, rounds, sinks);
}

MachinePeak measure_peak(gpu::Stream stream) {
    constexpr int warm_up = 2, repeat = 9, rounds = 1024;
    const std::int64_t count = std::int64_t(gpu::device().multiprocessors) << 19;  // 270 MB each on 132
    MachinePeak peak;
    {
        const Floats a(count), b(count), c(count);
        gpu::fill(stream, b.data(), 0, std::size_t(count) * sizeof(float));
        gpu::fill(stream, c.data(), 0, std::size_t(count) * sizeof(float));
        const double seconds = gpu::time(
            stream, [&] { triad(stream, count, b.data(), c.data(), a.data()); }, warm_up, repeat);
        peak.bytes_per_second = 3.0 * sizeof(float) * double(count) / seconds;
    }
    const std::int64_t threads =
        std::int64_t(gpu::device().multiprocessors) * 2048;  // as many as reside at once
    const Floats sinks(threads);
    const double seconds = gpu::time(
        stream, [&] { multiply_add_chains(stream, rounds, threads, sinks.data()); }, warm_up, repeat);
    peak.operations_per_second = 2.0 * chains * rounds * double(threads) / seconds;
    return peak;
}

}  // namespace tvmap::cuda
