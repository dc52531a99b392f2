// SSIM of two images x and y at every place where the window w = u⊗u fits (E is the mean weighted by w, Ex =
// E[x]):
//     (2·Ex·Ey + C1)·(2·S·(E[xy] − Ex·Ey) + C2) / ((Ex² + Ey² + C1)·(S·(E[xx + yy] − Ex² − Ey²) + C2))
// C1 = (K1·range)², C2 = (K2·range)², S = 1 for the population covariance, n/(n−1) for that of a sample of n.
// Four sums carry it: E[x], E[y], E[xx + yy], E[xy], for each output row first over the window's rows, then
// along the columns. In double, cancellation in E[xx] − Ex² costs 1e-16 of values of order 1, against C2 =
// 9e-4.
#include "kernels/training/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"
#include "kernels/threads/threads.h"
#include "kernels/training/loss.h"
#include "kernels/training/ssim_window.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/training/metrics.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef TVMAP_KERNELS_METRICS_ONCE
#define TVMAP_KERNELS_METRICS_ONCE
namespace tvmap::cpu {
inline constexpr int ssim_sums = 4;
}
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

/// The window's rows from x, y on, summed for each column; sums[k][j]. Columns from j on, as many whole
/// vectors as fit; returns the first left over.
template <class D>
int sum_rows(D d, const SsimWindow& window, const float* x, const float* y, int j, int width,
             double* const* sums) {
    const hn::Rebind<float, D> df;
    const int lanes = int(hn::Lanes(d));
    for (; j + lanes <= width; j += lanes) {
        auto sx = hn::Zero(d), sy = sx, squares = sx, products = sx;
        for (int k = 0; k < window.taps; ++k) {
            const std::int64_t at = std::int64_t(k) * width + j;
            const auto a = hn::PromoteTo(d, hn::LoadU(df, x + at)),
                       b = hn::PromoteTo(d, hn::LoadU(df, y + at));
            const auto u = hn::Set(d, window.weight[k]);
            sx = hn::MulAdd(u, a, sx);
            sy = hn::MulAdd(u, b, sy);
            squares = hn::MulAdd(u, hn::MulAdd(a, a, hn::Mul(b, b)), squares);
            products = hn::MulAdd(u, hn::Mul(a, b), products);
        }
        hn::StoreU(sx, d, sums[0] + j);
        hn::StoreU(sy, d, sums[1] + j);
        hn::StoreU(squares, d, sums[2] + j);
        hn::StoreU(products, d, sums[3] + j);
    }
    return j;
}

/// Adds the SSIM at columns j, j+1, … of one output row to the lanes of `total`; returns the first column
/// left over.
template <class D>
int add_ssim(D d, const SsimWindow& window, const double* const* sums, int j, int columns, double& total) {
    const int lanes = int(hn::Lanes(d));
    const auto c1 = hn::Set(d, ssim_c1), c2 = hn::Set(d, ssim_c2), two = hn::Set(d, 2.0);
    const auto scale = hn::Set(d, window.covariance_scale);
    auto sum = hn::Zero(d);
    for (; j + lanes <= columns; j += lanes) {
        auto ex = hn::Zero(d), ey = ex, squares = ex, products = ex;
        for (int k = 0; k < window.taps; ++k) {
            const auto u = hn::Set(d, window.weight[k]);
            ex = hn::MulAdd(u, hn::LoadU(d, sums[0] + j + k), ex);
            ey = hn::MulAdd(u, hn::LoadU(d, sums[1] + j + k), ey);
            squares = hn::MulAdd(u, hn::LoadU(d, sums[2] + j + k), squares);
            products = hn::MulAdd(u, hn::LoadU(d, sums[3] + j + k), products);
        }
        const auto exy = hn::Mul(ex, ey), exx = hn::MulAdd(ex, ex, hn::Mul(ey, ey));
        const auto covariance = hn::Mul(scale, hn::Sub(products, exy));
        const auto variances = hn::Mul(scale, hn::Sub(squares, exx));
        const auto above = hn::Mul(hn::MulAdd(two, exy, c1), hn::MulAdd(two, covariance, c2));
        const auto below = hn::Mul(hn::Add(exx, c1), hn::Add(variances, c2));
        sum = hn::Add(sum, hn::Div(above, below));
    }
    total += hn::GetLane(hn::SumOfLanes(d, sum));
    return j;
}

/// Σ of the SSIM along the output row whose window begins at x, y; sums is room for four rows of `width`.
double ssim_row(const SsimWindow& window, const float* x, const float* y, int width, double* const* sums) {
    const hn::CappedTag<double, 8> whole;
    const hn::CappedTag<double, 1> single;
    sum_rows(single, window, x, y, sum_rows(whole, window, x, y, 0, width, sums), width, sums);
    const int columns = width - window.taps + 1;
    double total = 0;
    const int rest = add_ssim(whole, window, sums, 0, columns, total);
    add_ssim(single, window, sums, rest, columns, total);
    return total;
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(ssim_row);

double ssim(const float* x, const float* y, int height, int width, const SsimWindow& window) {
    const int rows = height - window.taps + 1, columns = width - window.taps + 1;
    if (rows < 1 || columns < 1) return std::numeric_limits<double>::quiet_NaN();
    // A band of rows shares its buffers; the rows' sums are added in order, so that threads do not show.
    constexpr int band = 8;
    std::vector<double> row_sums(rows);
    const std::size_t room_of_one = std::size_t(ssim_sums) * width;
    std::vector<double> room(room_of_one * thread_count());  // here: no thread may run out of memory
    parallel_for((rows + band - 1) / band, std::int64_t(rows) * columns * window.taps, [&](std::int64_t b) {
        double* sums[ssim_sums];
        for (int k = 0; k < ssim_sums; ++k)
            sums[k] = room.data() + room_of_one * thread_index() + std::size_t(k) * width;
        const int begin = int(b) * band, end = std::min(begin + band, rows);
        for (int i = begin; i < end; ++i) {
            const std::int64_t at = std::int64_t(i) * width;
            row_sums[i] = HWY_DYNAMIC_DISPATCH(ssim_row)(window, x + at, y + at, width, sums);
        }
    });
    double total = 0;
    for (const double sum : row_sums) total += sum;
    return total / (double(rows) * columns);
}

}  // namespace

double psnr(const float* image, const float* truth, std::int64_t count) {
    return -10 * std::log10(squared_error(image, truth, count) / double(count));
}

double ssim_uniform(const float* image, const float* truth, int height, int width) {
    return ssim(image, truth, height, width, uniform_ssim_window());
}

double ssim_gaussian(const float* image, const float* truth, int height, int width) {
    return ssim(image, truth, height, width, gaussian_ssim_window());
}

void image_quality(const ComparedImages& c, ImageQuality* quality) {
    const std::int64_t pixels = std::int64_t(c.height) * c.width;
    for (int i = 0; i < c.count; ++i) {
        const float *image = c.images + i * pixels, *truth = c.truths + i / c.images_per_truth * pixels;
        quality[i] = {psnr(image, truth, pixels), ssim_gaussian(image, truth, c.height, c.width),
                      ssim_uniform(image, truth, c.height, c.width)};
    }
}

}  // namespace tvmap::cpu
#endif
