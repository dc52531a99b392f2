// The order of a sum: an image is cut into at most 64 pieces of equal length; within a piece value i goes to
// accumulator i mod 16, whatever the width of a vector, and product and sum round apart; the accumulators are
// added in order, then the pieces.
#include "kernels/training/loss.h"

#include <cmath>

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/training/loss.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

#ifndef TVMAP_KERNELS_LOSS_ONCE
#define TVMAP_KERNELS_LOSS_ONCE
namespace tvmap::cpu {
inline constexpr int accumulators = 16;
}
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

double squared_error_piece(const float* x, const float* y, std::int64_t count) {
    const hn::CappedTag<double, 8> d;
    const hn::Rebind<float, decltype(d)> df;
    constexpr int lanes = int(hn::MaxLanes(d));
    HWY_ALIGN double sum[accumulators] = {};
    std::int64_t i = 0;
    // Groups of up to four vectors keep their sums in registers; every vector of 16 accumulators gets its
    // turn.
    constexpr int vectors = lanes >= 4 ? accumulators / lanes : 1;
    if constexpr (vectors == 2 || vectors == 4) {
        auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
        const auto add = [&](hn::Vec<decltype(d)>& s, std::int64_t at) HWY_ATTR {
            const auto e =
                hn::Sub(hn::PromoteTo(d, hn::LoadU(df, x + at)), hn::PromoteTo(d, hn::LoadU(df, y + at)));
            s = hn::Add(s, hn::Mul(e, e));
        };
        for (; i + accumulators <= count; i += accumulators) {
            add(s0, i);
            add(s1, i + lanes);
            if constexpr (vectors == 4) {
                add(s2, i + 2 * lanes);
                add(s3, i + 3 * lanes);
            }
        }
        hn::Store(s0, d, sum);
        hn::Store(s1, d, sum + lanes);
        if constexpr (vectors == 4) {
            hn::Store(s2, d, sum + 2 * lanes);
            hn::Store(s3, d, sum + 3 * lanes);
        }
    }
    for (; i < count; ++i) {
        const double e = double(x[i]) - double(y[i]);
        sum[i % accumulators] += e * e;
    }
    double total = 0;
    for (const double s : sum) total += s;
    return total;
}

void backward_span(std::int64_t count, const float* x, const float* y, float factor, float* d_x,
                   bool accumulate) {
    write_each(count, accumulate, d_x, [&](auto d, std::int64_t i) HWY_ATTR {
        return hn::Mul(hn::Set(d, factor), hn::Sub(hn::LoadU(d, x + i), hn::LoadU(d, y + i)));
    });
}

/// factor·(x − z) + slope·v
void sure_backward_span(std::int64_t count, const float* x, const float* z, const float* v, float factor,
                        float slope, float* d_x, bool accumulate) {
    write_each(count, accumulate, d_x, [&](auto d, std::int64_t i) HWY_ATTR {
        return hn::Add(hn::Mul(hn::Set(d, factor), hn::Sub(hn::LoadU(d, x + i), hn::LoadU(d, z + i))),
                       hn::Mul(hn::Set(d, slope), hn::LoadU(d, v + i)));
    });
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(squared_error_piece);
HWY_EXPORT(backward_span);
HWY_EXPORT(sure_backward_span);

/// Σ piece(begin, length) over the pieces of `count` values, each of which costs some `floats`.
template <class Piece>
double sum_of_pieces(std::int64_t count, int floats, const Piece& piece) {
    constexpr std::int64_t most_pieces = 64, shortest = 4096;
    const std::int64_t share = (count + most_pieces - 1) / most_pieces;
    const std::int64_t length = std::max(shortest, (share + accumulators - 1) / accumulators * accumulators);
    const std::int64_t pieces = (count + length - 1) / length;
    double sums[most_pieces];
    parallel_for(pieces, floats * count,
                 [&](std::int64_t p) { sums[p] = piece(p * length, std::min(length, count - p * length)); });
    double total = 0;
    for (std::int64_t p = 0; p < pieces; ++p) total += sums[p];
    return total;
}

/// Σ ½(x₁ − z)² + ½(x₂ − z)² + slope·v(x₁ − x₂) − v².
double sure_piece(const float* x1, const float* x2, const float* z, const float* v, double slope,
                  std::int64_t count) {
    double sum[accumulators] = {};
    for (std::int64_t i = 0; i < count; ++i) {
        const double up = double(x1[i]) - double(z[i]), down = double(x2[i]) - double(z[i]);
        const double probe = double(v[i]);
        sum[i % accumulators] += 0.5 * (up * up + down * down) + slope * probe * (up - down) - probe * probe;
    }
    double total = 0;
    for (const double s : sum) total += s;
    return total;
}

}  // namespace

double squared_error(const float* x, const float* y, std::int64_t count) {
    return sum_of_pieces(count, 2, [&](std::int64_t begin, std::int64_t length) {
        return HWY_DYNAMIC_DISPATCH(squared_error_piece)(x + begin, y + begin, length);
    });
}

double loss_forward(LossKind kind, ConstView x, ConstView target, double* image_mse) {
    require_shape("loss", "target", target.shape, x.shape);
    const std::int64_t size = x.shape.image_size();
    double sum = 0;
    for (int n = 0; n < x.shape.n; ++n) {
        image_mse[n] = squared_error(x.image(n), target.image(n), size) / double(size);
        sum += kind == LossKind::mse ? image_mse[n] : std::log(std::max(image_mse[n], mse_floor));
    }
    return sum / x.shape.n;
}

void loss_backward(LossKind kind, ConstView x, ConstView target, const double* image_mse, View d_x,
                   Write write) {
    require_shape("loss backward", "target", target.shape, x.shape);
    require_shape("loss backward", "d_x", d_x.shape, x.shape);
    const double mean = 2.0 / (double(x.shape.image_size()) * x.shape.n);
    parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        double factor = mean;
        if (kind == LossKind::log_mse) factor = image_mse[n] < mse_floor ? 0.0 : mean / image_mse[n];
        HWY_DYNAMIC_DISPATCH(backward_span)
        (length, x.image(n) + offset, target.image(n) + offset, float(factor), d_x.image(n) + offset,
         write == Write::accumulate);
    });
}

double sure_forward(double epsilon, ConstView x, ConstView target, double* image_sure) {
    require_pairs("SURE", x.shape, target.shape);
    const std::int64_t size = x.shape.image_size();
    const int pairs = x.shape.n / 2;
    double sum = 0;
    for (int n = 0; n < pairs; ++n) {
        const float *const x1 = x.image(2 * n), *const x2 = x.image(2 * n + 1);
        const float *const z = target.image(2 * n), *const v = target.image(2 * n + 1);
        const double total = sum_of_pieces(size, 4, [&](std::int64_t begin, std::int64_t length) {
            return sure_piece(x1 + begin, x2 + begin, z + begin, v + begin, 1 / epsilon, length);
        });
        image_sure[n] = total / double(size);
        sum += image_sure[n];
    }
    return sum / pairs;
}

void sure_backward(double epsilon, ConstView x, ConstView target, View d_x, Write write) {
    require_pairs("SURE backward", x.shape, target.shape);
    require_shape("SURE backward", "d_x", d_x.shape, x.shape);
    const int pairs = x.shape.n / 2;
    const double mean = 1.0 / (double(x.shape.image_size()) * pairs);
    const float factor = float(mean), slope = float(mean / epsilon);
    const bool accumulate = write == Write::accumulate;
    parallel_pieces(x.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        const float* const z = target.image(n - n % 2) + offset;
        const float* const v = target.image(n - n % 2 + 1) + offset;
        HWY_DYNAMIC_DISPATCH(sure_backward_span)
        (length, x.image(n) + offset, z, v, factor, n % 2 ? -slope : slope, d_x.image(n) + offset,
         accumulate);
    });
}

}  // namespace tvmap::cpu
#endif
