#include "kernels/layers/blas1.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/shapes.h"
#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layers/blas1.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

void axpy_span(std::int64_t count, float a, const float* x, float* y) {
    write_each(count, true, y,
               [&](auto d, std::int64_t i) HWY_ATTR { return hn::Mul(hn::Set(d, a), hn::LoadU(d, x + i)); });
}

void fill_span(std::int64_t count, float value, float* x) {
    write_each(count, false, x, [&](auto d, std::int64_t) HWY_ATTR { return hn::Set(d, value); });
}

/// The sum of one part of an image.
double dot_part(std::int64_t count, const float* x, const float* y) {
    const hn::CappedTag<double, 8> d;
    const hn::Rebind<float, decltype(d)> df;
    const int lanes = int(hn::Lanes(d));
    HWY_ALIGN double sums[dot_sums] = {};
    std::int64_t i = 0;
    for (; i + dot_sums <= count; i += dot_sums)
        for (int k = 0; k < dot_sums; k += lanes) {
            const auto product = hn::Mul(hn::PromoteTo(d, hn::LoadU(df, x + i + k)),
                                         hn::PromoteTo(d, hn::LoadU(df, y + i + k)));
            hn::Store(hn::Add(hn::Load(d, sums + k), product), d, sums + k);
        }
    for (int k = 0; i < count; ++i, ++k) sums[k] += double(x[i]) * double(y[i]);
    double total = 0;
    for (double* fold = sums; fold < sums + dot_sums; fold += dot_fold) {
        for (int half = dot_fold / 2; half > 0; half /= 2)
            for (int k = 0; k < half; ++k) fold[k] += fold[k + half];
        total += fold[0];
    }
    return total;
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(axpy_span);
HWY_EXPORT(fill_span);
HWY_EXPORT(dot_part);
}  // namespace

void copy(ConstView x, View y) {
    require_shape("copy", "y", y.shape, x.shape);
    require_fp32("copy", x.shape);
    parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        std::memcpy(y.image(n) + offset, x.image(n) + offset, sizeof(float) * std::size_t(length));
    });
}

void axpy(float a, ConstView x, View y) {
    require_shape("axpy", "y", y.shape, x.shape);
    require_fp32("axpy", x.shape);
    parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(axpy_span)(length, a, x.image(n) + offset, y.image(n) + offset);
    });
}

void dot(ConstView x, ConstView y, double* sums) {
    require_shape("dot", "y", y.shape, x.shape);
    require_fp32("dot", x.shape);
    const std::int64_t size = x.shape.image_size(), length = (size + dot_parts - 1) / dot_parts;
    for (int n = 0; n < x.shape.n; ++n) {
        double parts[dot_parts];
        parallel_for(dot_parts, 2 * size, [&](std::int64_t p) {
            const std::int64_t begin = std::min(p * length, size), count = std::min(length, size - begin);
            parts[p] = HWY_DYNAMIC_DISPATCH(dot_part)(count, x.image(n) + begin, y.image(n) + begin);
        });
        double sum = 0;
        for (const double part : parts) sum += part;
        sums[n] = sum;
    }
}

void fill(View x, float value) {
    if (x.shape.element == Element::bf16) {
        const FeatureView<Bfloat16> narrow = as<Bfloat16>(x);
        return parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
            std::fill_n(narrow.image(n) + offset, length, to_bfloat16(value));
        });
    }
    parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(fill_span)(length, value, x.image(n) + offset);
    });
}

}  // namespace tvmap::cpu
#endif
