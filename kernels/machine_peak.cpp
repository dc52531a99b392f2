#include "kernels/machine_peak.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <new>

#include <dnnl.hpp>

#include "kernels/amx/tile_convolution.h"
#include "kernels/base/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/machine_peak.cpp"
#include <hwy/foreach_target.h>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
const hn::ScalableTag<float> d;

// count is a multiple of every vector's length; the arrays are aligned to 64 bytes.
void triad(float* a, const float* b, const float* c, std::int64_t count) {
    const auto s = hn::Set(d, 0.5f);
    const int lanes = int(hn::Lanes(d));
    for (std::int64_t i = 0; i < count; i += lanes)
        hn::Stream(hn::MulAdd(s, hn::Load(d, c + i), hn::Load(d, b + i)), d, a + i);
    hwy::FlushStream();
}

// Twelve independent chains hide the latency (4 cycles, two units) and fit the registers of every set. The
// values converge to 1 and stay there. Returns the operations done; `sink` keeps the compiler from dropping
// them.
double multiply_add_chains(std::int64_t rounds, float* sink) {
    const auto half = hn::Set(d, 0.5f);
    auto a0 = hn::Set(d, 0.1f), a1 = hn::Set(d, 0.2f), a2 = hn::Set(d, 0.3f), a3 = hn::Set(d, 0.4f);
    auto a4 = hn::Set(d, 0.5f), a5 = hn::Set(d, 0.6f), a6 = hn::Set(d, 0.7f), a7 = hn::Set(d, 0.8f);
    auto a8 = hn::Set(d, 0.9f), a9 = hn::Set(d, 1.1f), a10 = hn::Set(d, 1.2f), a11 = hn::Set(d, 1.3f);
    for (std::int64_t i = 0; i < rounds; ++i) {
        a0 = hn::MulAdd(a0, half, half), a1 = hn::MulAdd(a1, half, half), a2 = hn::MulAdd(a2, half, half);
        a3 = hn::MulAdd(a3, half, half), a4 = hn::MulAdd(a4, half, half), a5 = hn::MulAdd(a5, half, half);
        a6 = hn::MulAdd(a6, half, half), a7 = hn::MulAdd(a7, half, half), a8 = hn::MulAdd(a8, half, half);
        a9 = hn::MulAdd(a9, half, half), a10 = hn::MulAdd(a10, half, half), a11 = hn::MulAdd(a11, half, half);
    }
    const auto sum = hn::Add(
        hn::Add(hn::Add(a0, a1), hn::Add(a2, a3)),
        hn::Add(hn::Add(hn::Add(a4, a5), hn::Add(a6, a7)), hn::Add(hn::Add(a8, a9), hn::Add(a10, a11))));
    *sink = hn::GetLane(hn::SumOfLanes(d, sum));
    return double(rounds) * 12 * 2 * double(hn::Lanes(d));
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {

HWY_EXPORT(triad);
HWY_EXPORT(multiply_add_chains);

using Clock = std::chrono::steady_clock;
constexpr int runs = 9;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Release {
    void operator()(float* memory) const { ::operator delete[](memory, std::align_val_t(64)); }
};

}  // namespace

double peak_memory_rate() {
    constexpr std::int64_t piece = 1 << 14, pieces = 1 << 10, count = piece * pieces;  // 64 MiB each
    std::unique_ptr<float, Release> arrays[3];
    for (auto& array : arrays) {
        array.reset(static_cast<float*>(::operator new[](count * sizeof(float), std::align_val_t(64))));
        // Touched first by the threads that will use it.
#pragma omp parallel for schedule(static)
        for (std::int64_t i = 0; i < pieces; ++i) std::fill_n(array.get() + i * piece, piece, 1.0f);
    }
    double best = 0;
    for (int run = 0; run < runs; ++run) {
        const auto start = Clock::now();
#pragma omp parallel for schedule(static)
        for (std::int64_t i = 0; i < pieces; ++i) HWY_DYNAMIC_DISPATCH(triad)
        (arrays[0].get() + i * piece, arrays[1].get() + i * piece, arrays[2].get() + i * piece, piece);
        best = std::max(best, 3.0 * count * sizeof(float) / seconds_since(start));
    }
    return best;
}

namespace {

/// The best of several runs of work() on all threads, which returns the operations that it did, in one second.
template <class Work>
double best_rate(const Work& work) {
    double best = 0;
    for (int run = 0; run < runs; ++run) {
        double operations = 0;
        const auto start = Clock::now();
#pragma omp parallel reduction(+ : operations)
        operations += work();
        best = std::max(best, operations / seconds_since(start));
    }
    return best;
}

}  // namespace

double peak_multiply_add_rate() {
    return best_rate([] {
        float value;
        const double operations = HWY_DYNAMIC_DISPATCH(multiply_add_chains)(4000000, &value);
        [[maybe_unused]] const volatile float sink = value;
        return operations;
    });
}

double peak_tile_rate() {
    return amx::has_tiles() ? best_rate([] { return amx::multiply_tiles(400000); }) : 0;
}

std::string processor_name() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
    return "unknown";
}

std::string onednn_version() {
    const dnnl_version_t& version = *dnnl_version();
    return std::to_string(version.major) + "." + std::to_string(version.minor) + "." +
           std::to_string(version.patch);
}

}  // namespace tvmap::cpu
#endif  // HWY_ONCE
