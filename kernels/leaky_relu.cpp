// Elementwise over the floats of each image, so the block of channels plays no part.
#include "kernels/leaky_relu.h"

#include "kernels/parallel.h"
#include "kernels/shapes.h"
#include "kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/leaky_relu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

/// From i on, as many whole vectors as fit; returns the first index left over. So do the others below.
template <class D>
std::int64_t forward(D d, std::int64_t i, std::int64_t count, const float* x, float* y, float slope) {
    const std::int64_t lanes = hn::Lanes(d);
    for (; i + lanes <= count; i += lanes) {
        const auto v = hn::LoadU(d, x + i);
        hn::StoreU(hn::IfThenElse(hn::Gt(v, hn::Zero(d)), v, hn::Mul(hn::Set(d, slope), v)), d, y + i);
    }
    return i;
}

template <class D>
std::int64_t backward(D d, std::int64_t i, std::int64_t count, const float* y, const float* d_y, float* d_x,
                      float slope, bool accumulate) {
    const std::int64_t lanes = hn::Lanes(d);
    for (; i + lanes <= count; i += lanes) {
        const auto g = hn::LoadU(d, d_y + i);
        auto v = hn::IfThenElse(hn::Gt(hn::LoadU(d, y + i), hn::Zero(d)), g, hn::Mul(hn::Set(d, slope), g));
        if (accumulate) v = hn::Add(hn::LoadU(d, d_x + i), v);
        hn::StoreU(v, d, d_x + i);
    }
    return i;
}

template <class D>
std::int64_t sum(D d, std::int64_t i, std::int64_t count, const float* a, const float* b, float* s) {
    const std::int64_t lanes = hn::Lanes(d);
    for (; i + lanes <= count; i += lanes)
        hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, s + i);
    return i;
}

constexpr hn::ScalableTag<float> whole{};
constexpr hn::CappedTag<float, 1> single{};

void forward_span(std::int64_t count, const float* x, float* y, float slope) {
    forward(single, forward(whole, 0, count, x, y, slope), count, x, y, slope);
}

void backward_span(std::int64_t count, const float* y, const float* d_y, float* d_x, float slope,
                   bool accumulate) {
    const std::int64_t rest = backward(whole, 0, count, y, d_y, d_x, slope, accumulate);
    backward(single, rest, count, y, d_y, d_x, slope, accumulate);
}

void sum_span(std::int64_t count, const float* a, const float* b, float* s) {
    sum(single, sum(whole, 0, count, a, b, s), count, a, b, s);
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(forward_span);
HWY_EXPORT(backward_span);
HWY_EXPORT(sum_span);
}  // namespace

void leaky_relu_forward(ConstView x, View y, float slope) {
    require_shape("leaky_relu", "y", y.shape, x.shape);
    parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(forward_span)(length, x.image(n) + offset, y.image(n) + offset, slope);
    });
}

void leaky_relu_backward(ConstView y, ConstView d_y, View d_x, float slope, Write write) {
    require_shape("leaky_relu backward", "d_y", d_y.shape, y.shape);
    require_shape("leaky_relu backward", "d_x", d_x.shape, y.shape);
    parallel_pieces(y.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(backward_span)
        (length, y.image(n) + offset, d_y.image(n) + offset, d_x.image(n) + offset, slope,
         write == Write::accumulate);
    });
}

void add(ConstView a, ConstView b, View sum) {
    require_shape("add", "b", b.shape, a.shape);
    require_shape("add", "sum", sum.shape, a.shape);
    parallel_pieces(a.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(sum_span)
        (length, a.image(n) + offset, b.image(n) + offset, sum.image(n) + offset);
    });
}

}  // namespace tvmap::cpu
#endif
