// With E = exp(−|r|), which never overflows:
//     softplus(r) = max(r, 0) + log(1 + E)                  softplus′(r) = sigmoid(r)
//     sigmoid(r)  = 1/(1+E) where r ≥ 0, E/(1+E) elsewhere  sigmoid′(r)  = E/(1+E)²
#include "kernels/layers/map_from_raw.h"

#include <algorithm>

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layers/map_from_raw.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// Compiled per target too, so they stand after it.
#include <hwy/contrib/math/math-inl.h>
#include "kernels/base/simd_loops.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

/// E, and NaN where r is, which Highway's exponential takes for zero. Below −87 the exponential is not a normal number;
/// it may as well be zero.
template <class D>
HWY_INLINE hn::Vec<D> exp_minus_abs(D d, hn::Vec<D> r) {
    return hn::IfThenElse(hn::IsNaN(r), r, hn::Exp(d, hn::Neg(hn::Abs(r))));
}

template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> r) {
    const auto one = hn::Set(d, 1.0f), e = exp_minus_abs(d, r);
    return hn::Div(hn::IfThenElse(hn::Lt(r, hn::Zero(d)), e, one), hn::Add(one, e));
}

template <class D>
HWY_INLINE hn::Vec<D> sigmoid_slope(D d, hn::Vec<D> r) {
    const auto e = exp_minus_abs(d, r), sum = hn::Add(hn::Set(d, 1.0f), e);
    return hn::Div(e, hn::Mul(sum, sum));
}

/// r + |r| halved is max(r, 0), and NaN where r is.
template <class D>
HWY_INLINE hn::Vec<D> softplus(D d, hn::Vec<D> r) {
    const auto positive = hn::Mul(hn::Set(d, 0.5f), hn::Add(r, hn::Abs(r)));
    return hn::Add(positive, hn::Log1p(d, exp_minus_abs(d, r)));
}

void forward_span(std::int64_t count, const MapFromRaw& map, const float* raw, float* lambda) {
    if (map.up_bound > 0) {
        write_each(count, false, lambda, [&](auto d, std::int64_t i) HWY_ATTR {
            return hn::Mul(hn::Set(d, map.up_bound), sigmoid(d, hn::LoadU(d, raw + i)));
        });
    } else {
        write_each(count, false, lambda, [&](auto d, std::int64_t i) HWY_ATTR {
            return hn::Mul(hn::Set(d, map.scale), softplus(d, hn::LoadU(d, raw + i)));
        });
    }
}

void backward_span(std::int64_t count, const MapFromRaw& map, const float* raw, const float* d_lambda,
                   float* d_raw, bool accumulate) {
    if (map.up_bound > 0) {
        write_each(count, accumulate, d_raw, [&](auto d, std::int64_t i) HWY_ATTR {
            const auto slope = hn::Mul(hn::Set(d, map.up_bound), sigmoid_slope(d, hn::LoadU(d, raw + i)));
            return hn::Mul(hn::LoadU(d, d_lambda + i), slope);
        });
    } else {
        write_each(count, accumulate, d_raw, [&](auto d, std::int64_t i) HWY_ATTR {
            const auto slope = hn::Mul(hn::Set(d, map.scale), sigmoid(d, hn::LoadU(d, raw + i)));
            return hn::Mul(hn::LoadU(d, d_lambda + i), slope);
        });
    }
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(forward_span);
HWY_EXPORT(backward_span);
}  // namespace

void map_from_raw_forward(const MapFromRaw& map, ConstView raw, View lambda) {
    check_map_from_raw("map_from_raw", raw.shape, lambda.shape);
    parallel_pieces(lambda.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(forward_span)(length, map, raw.image(n) + offset, lambda.image(n) + offset);
    });
}

void map_from_raw_backward(const MapFromRaw& map, ConstView raw, ConstView d_lambda, View d_raw,
                           Write write) {
    const Features& shape = d_lambda.shape;
    check_map_from_raw("map_from_raw backward", raw.shape, shape);
    require_shape("map_from_raw backward", "d_raw", d_raw.shape, raw.shape);
    parallel_pieces(shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(backward_span)
        (length, map, raw.image(n) + offset, d_lambda.image(n) + offset, d_raw.image(n) + offset,
         write == Write::accumulate);
    });
    if (write == Write::overwrite)
        for (int n = 0; n < raw.shape.n; ++n)
            std::fill(d_raw.image(n) + shape.image_size(), d_raw.image(n) + raw.shape.image_size(), 0.0f);
}

}  // namespace tvmap::cpu
#endif
