// Elementwise over the floats of each image, so the block of channels plays no part.
#include "kernels/layers/leaky_relu.h"

#include "kernels/base/shapes.h"
#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layers/leaky_relu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

void forward_span(std::int64_t count, const float* x, float* y, float slope) {
    write_each(count, false, y, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto v = hn::LoadU(d, x + i);
        return hn::IfThenElse(hn::Gt(v, hn::Zero(d)), v, hn::Mul(hn::Set(d, slope), v));
    });
}

void backward_span(std::int64_t count, const float* y, const float* d_y, float* d_x, float slope,
                   bool accumulate) {
    write_each(count, accumulate, d_x, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto g = hn::LoadU(d, d_y + i);
        return hn::IfThenElse(hn::Gt(hn::LoadU(d, y + i), hn::Zero(d)), g, hn::Mul(hn::Set(d, slope), g));
    });
}

void sum_span(std::int64_t count, const float* a, const float* b, float* s) {
    write_each(count, false, s, [&](auto d, std::int64_t i) HWY_ATTR {
        return hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i));
    });
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
    require_fp32("leaky_relu", x.shape);
    parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(forward_span)(length, x.image(n) + offset, y.image(n) + offset, slope);
    });
}

void leaky_relu_backward(ConstView y, ConstView d_y, View d_x, float slope, Write write) {
    require_shape("leaky_relu backward", "d_y", d_y.shape, y.shape);
    require_shape("leaky_relu backward", "d_x", d_x.shape, y.shape);
    require_fp32("leaky_relu backward", y.shape);
    parallel_pieces(y.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(backward_span)
        (length, y.image(n) + offset, d_y.image(n) + offset, d_x.image(n) + offset, slope,
         write == Write::accumulate);
    });
}

void add(ConstView a, ConstView b, View sum) {
    require_shape("add", "b", b.shape, a.shape);
    require_shape("add", "sum", sum.shape, a.shape);
    require_fp32("add", a.shape);
    parallel_pieces(a.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(sum_span)
        (length, a.image(n) + offset, b.image(n) + offset, sum.image(n) + offset);
    });
}

}  // namespace tvmap::cpu
#endif
