#include "kernels/layers/noise_level.h"

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layers/noise_level.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// Compiled per target too, so it stands after it.
#include "kernels/base/simd_loops.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

/// Σ |mask ∗ z| over the inner pixels of the middle row, in a vector of doubles.
double sum_responses(const float* above, const float* row, const float* below, int width) {
    const hn::ScalableTag<double> d;
    const hn::Rebind<float, decltype(d)> df;
    const int lanes = int(hn::Lanes(d)), last = width - 1;
    auto sums = hn::Zero(d);
    int j = 1;
    for (; j + lanes <= last; j += lanes) {
        const auto at = [&](const float* from, int shift)
                            HWY_ATTR { return hn::LoadU(df, from + j + shift); };
        const auto corners =
            hn::Add(hn::Add(at(above, -1), at(above, 1)), hn::Add(at(below, -1), at(below, 1)));
        const auto sides = hn::Add(hn::Add(at(above, 0), at(below, 0)), hn::Add(at(row, -1), at(row, 1)));
        const auto inner = hn::Sub(corners, hn::Mul(hn::Set(df, 2.0f), sides));
        const auto response = hn::Abs(hn::Add(inner, hn::Mul(hn::Set(df, 4.0f), at(row, 0))));
        sums = hn::Add(sums, hn::PromoteTo(d, response));
    }
    double sum = hn::GetLane(hn::SumOfLanes(d, sums));
    for (; j < last; ++j) sum += noise_response(above, row, below, j);
    return sum;
}

void scale_span(std::int64_t count, bool divide, const float* x, float factor, float* y, bool accumulate) {
    if (divide) {
        write_each(count, accumulate, y, [&](auto d, std::int64_t i) HWY_ATTR {
            return hn::Div(hn::LoadU(d, x + i), hn::Set(d, factor));
        });
    } else {
        write_each(count, accumulate, y, [&](auto d, std::int64_t i) HWY_ATTR {
            return hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor));
        });
    }
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(sum_responses);
HWY_EXPORT(scale_span);
}  // namespace

void noise_level_forward(ConstView z, View level) {
    check_noise_level(z.shape, level.shape);
    const int h = z.shape.h, w = z.shape.w;
    parallel_for(z.shape.n, z.shape.n * z.shape.image_size(), [&](std::int64_t n) {
        double sum = 0;
        for (int i = 1; i + 1 < h; ++i) {
            const float* row = z.image(int(n)) + std::int64_t(i) * w;
            sum += HWY_DYNAMIC_DISPATCH(sum_responses)(row - w, row, row + w, w);
        }
        const std::int64_t inner = h > 2 && w > 2 ? std::int64_t(h - 2) * (w - 2) : 0;
        *level.image(int(n)) = noise_level_from(sum, inner);
    });
}

void scale_images(Scaling scaling, ConstView x, ConstView factor, View y, Write write) {
    check_scaled(x.shape, factor.shape, y.shape);
    parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(scale_span)
        (length, scaling == Scaling::divide, x.image(n) + offset, *factor.image(n), y.image(n) + offset,
         write == Write::accumulate);
    });
}

}  // namespace tvmap::cpu
#endif
