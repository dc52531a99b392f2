// Elementwise, at the memory's speed. What a step need not touch it does not: a gradient within its bound is left alone.
#include "kernels/optimiser/optimiser_step.h"

#include <cmath>

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/optimiser/optimiser_step.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

void mean_span(std::int64_t count, float share, float* sum, float* gradient) {
    for_each_vector(count, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto whole = hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, gradient + i));
        hn::StoreU(hn::Mul(whole, hn::Set(d, share)), d, gradient + i);
        hn::StoreU(hn::Zero(d), d, sum + i);
    });
}

void scale_span(std::int64_t count, float factor, float* x) {
    for_each_vector(count, [&](auto d, std::int64_t i) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::Set(d, factor), hn::LoadU(d, x + i)), d, x + i);
    });
}

void follow_span(std::int64_t count, float follow, const float* w, float* average) {
    for_each_vector(count, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto a = hn::LoadU(d, average + i);
        const auto away = hn::Sub(hn::LoadU(d, w + i), a);
        hn::StoreU(hn::MulAdd(hn::Set(d, follow), away, a), d, average + i);
    });
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(mean_span);
HWY_EXPORT(scale_span);
HWY_EXPORT(follow_span);

void scale(std::int64_t count, float factor, float* x) {
    parallel_pieces(count, 2 * count, [&](std::int64_t at, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(scale_span)(length, factor, x + at);
    });
}

}  // namespace

void mean_gradient(std::int64_t count, int batches, float* sum, float* gradient) {
    const float share = 1.0f / float(batches);
    parallel_pieces(count, 4 * count, [&](std::int64_t at, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(mean_span)(length, share, sum + at, gradient + at);
    });
}

void clip_gradient(std::int64_t count, double largest, const double* squared_norm, float* gradient) {
    const double norm = std::sqrt(*squared_norm);
    if (norm > largest) scale(count, float(largest / norm), gradient);
}

void decay_weights(StepFactors factors, Spans spans, float* w) {
    for (int s = 0; s < spans.count; ++s)
        scale(spans.list[s].count, factors.now().keep, w + spans.list[s].first);
}

void average_weights(StepFactors factors, std::int64_t count, const float* w, float* average) {
    const float follow = factors.now().follow;
    parallel_pieces(count, 3 * count, [&](std::int64_t at, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(follow_span)(length, follow, w + at, average + at);
    });
}

}  // namespace tvmap::cpu
#endif
