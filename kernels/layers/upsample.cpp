// With aligned corners the output rows 2k−1 and 2k both lie between the input rows k−1 and k, at the
// fractions
//     (H−k)/(2H−1)  and  (2H−1−k)/(2H−1)                    k = 1 … H−1
// and the first and last output rows are the first and last input rows; columns likewise. So the forward pass
// goes through the H+1 gaps between rows, the outermost with a row on either side of them only, and writes
// two rows for each; those of a window are gaps r … r+h of the whole. Seen from input row i the backward pass is four
// taps, from the output rows 2i−1 … 2i+2 with the weights
//     (H−i), (2H−1−i), (H+i), (i+1)   over 2H−1             (no first tap at i = 0, no last one at i = H−1)
#include "kernels/layers/upsample.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layers/upsample.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

#ifndef TVMAP_KERNELS_UPSAMPLE_ONCE
#define TVMAP_KERNELS_UPSAMPLE_ONCE
namespace tvmap::cpu {

/// The fractions of the two output places in gap k of `size` input places; nothing to interpolate in the
/// outermost.
struct Gap {
    float first, second;
    Gap(int k, int size)
        : first(float(size - k) / float(2 * size - 1)),
          second(float(2 * size - 1 - k) / float(2 * size - 1)) {}
};

/// Where x lies in what is upsampled, along one axis: from place `first` on, of `size`.
struct Extent {
    int first, size;
};

/// Four rows of d_y and their weights: what one row of d_x gathers from.
template <class Number>
struct Taps {
    const Number* row[4];
    float weight[4];
};

}  // namespace tvmap::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

template <class D>
HWY_INLINE hn::Vec<D> between(hn::Vec<D> fraction, hn::Vec<D> a, hn::Vec<D> b, D) {
    return hn::MulAdd(fraction, hn::Sub(b, a), a);
}

/// The columns of gaps k, k+1, … between planar input rows x0 and x1, one vector of gaps a step; returns the
/// first gap left over.
int planar_gaps(const float* x0, const float* x1, Gap rows, Extent columns, float* y0, float* y1, int k,
                int width) {
    const hn::ScalableTag<float> d;
    const int lanes = int(hn::Lanes(d));
    const auto row0 = hn::Set(d, rows.first), row1 = hn::Set(d, rows.second);
    const auto size = hn::Set(d, float(columns.size)), divisor = hn::Set(d, float(2 * columns.size - 1));
    for (; k + lanes <= width; k += lanes) {
        const auto place = hn::Iota(d, float(columns.first + k));
        const auto first = hn::Div(hn::Sub(size, place), divisor);
        const auto second = hn::Div(hn::Sub(divisor, place), divisor);
        const auto a = hn::LoadU(d, x0 + k - 1), b = hn::LoadU(d, x0 + k);
        const auto e = hn::LoadU(d, x1 + k - 1), f = hn::LoadU(d, x1 + k);
        const auto a0 = between(row0, a, e, d), b0 = between(row0, b, f, d);
        const auto a1 = between(row1, a, e, d), b1 = between(row1, b, f, d);
        hn::StoreInterleaved2(between(first, a0, b0, d), between(second, a0, b0, d), d, y0 + 2 * k - 1);
        hn::StoreInterleaved2(between(first, a1, b1, d), between(second, a1, b1, d), d, y1 + 2 * k - 1);
    }
    return k;
}

template <class D, class Number>
void forward_gaps(D d, const Number* x0, const Number* x1, Gap rows, Extent columns, Number* y0, Number* y1,
                  int block, int width) {
    const auto row0 = hn::Set(d, rows.first), row1 = hn::Set(d, rows.second);
    int first_gap = 1;
    if constexpr (std::is_same_v<Number, float>)
        if (block == 1) first_gap = planar_gaps(x0, x1, rows, columns, y0, y1, 1, width);
    const int ahead = columns.size - columns.first;  // of the window's first column, in the whole
    const float divisor = 1.0f / float(2 * columns.size - 1);
    for (int c = 0; c < block; c += int(hn::Lanes(d))) {
        const auto column = [&](int j, hn::Vec<D>& u0, hn::Vec<D>& u1) HWY_ATTR {
            const std::int64_t at = std::int64_t(j) * block + c;
            const auto a = load(d, x0 + at), e = load(d, x1 + at);
            u0 = between(row0, a, e, d);
            u1 = between(row1, a, e, d);
        };
        const auto write = [&](int j, hn::Vec<D> u0, hn::Vec<D> u1) HWY_ATTR {
            store(u0, d, y0 + std::int64_t(j) * block + c);
            store(u1, d, y1 + std::int64_t(j) * block + c);
        };
        hn::Vec<D> left0 = hn::Zero(d), left1 = left0, right0 = left0, right1 = left0;
        column(0, left0, left1);
        write(0, left0, left1);
        if (first_gap > 1) column(first_gap - 1, left0, left1);
        for (int k = first_gap; k < width; ++k) {
            column(k, right0, right1);
            const auto first = hn::Set(d, float(ahead - k) * divisor);
            const auto second = hn::Set(d, float(columns.size + ahead - 1 - k) * divisor);
            write(2 * k - 1, between(first, left0, right0, d), between(first, left1, right1, d));
            write(2 * k, between(second, left0, right0, d), between(second, left1, right1, d));
            left0 = right0;
            left1 = right1;
        }
        write(2 * width - 1, left0, left1);
    }
}

/// Σ over the four rows, at one place.
template <class D, class Number>
HWY_INLINE hn::Vec<D> gather(D d, const Taps<Number>& taps, std::int64_t at) {
    auto sum = hn::Mul(hn::Set(d, taps.weight[0]), load(d, taps.row[0] + at));
    sum = hn::MulAdd(hn::Set(d, taps.weight[1]), load(d, taps.row[1] + at), sum);
    sum = hn::MulAdd(hn::Set(d, taps.weight[2]), load(d, taps.row[2] + at), sum);
    return hn::MulAdd(hn::Set(d, taps.weight[3]), load(d, taps.row[3] + at), sum);
}

/// Columns j, j+1, … of planar d_x, one vector a step, short of the last column; returns the first left over.
template <bool accumulate>
int planar_taps(const Taps<float>& taps, float* d_x, int j, int width) {
    const hn::ScalableTag<float> d;
    const int lanes = int(hn::Lanes(d));
    const auto scale = hn::Set(d, 1.0f / float(2 * width - 1));
    for (; j + lanes < width; j += lanes) {
        auto v0 = hn::Zero(d), v1 = v0, v2 = v0, v3 = v0;
        for (int row = 0; row < 4; ++row) {
            auto a = hn::Zero(d), b = a, e = a, f = a;
            hn::LoadInterleaved2(d, taps.row[row] + 2 * j - 1, a, b);
            hn::LoadInterleaved2(d, taps.row[row] + 2 * j + 1, e, f);
            const auto weight = hn::Set(d, taps.weight[row]);
            v0 = hn::MulAdd(weight, a, v0);
            v1 = hn::MulAdd(weight, b, v1);
            v2 = hn::MulAdd(weight, e, v2);
            v3 = hn::MulAdd(weight, f, v3);
        }
        const auto place = hn::Iota(d, float(j)), size = hn::Set(d, float(width));
        auto sum = hn::Mul(hn::Sub(size, place), v0);
        sum = hn::MulAdd(hn::Sub(hn::Set(d, float(2 * width - 1)), place), v1, sum);
        sum = hn::MulAdd(hn::Add(size, place), v2, sum);
        sum = hn::MulAdd(hn::Add(place, hn::Set(d, 1.0f)), v3, sum);
        write_out<accumulate>(d, hn::Mul(sum, scale), d_x + j);
    }
    return j;
}

template <bool accumulate, class D, class Number>
void backward_columns(D d, const Taps<Number>& taps, Number* d_x, int block, int width) {
    const float divisor = 1.0f / float(2 * width - 1);
    for (int c = 0; c < block; c += int(hn::Lanes(d))) {
        auto before = hn::Zero(d), here = gather(d, taps, c);
        for (int j = 0; j < width; ++j) {
            if constexpr (std::is_same_v<Number, float>)
                if (block == 1 && j == 1) {
                    j = planar_taps<accumulate>(taps, d_x, j, width);
                    before = gather(d, taps, 2 * j - 1);
                    here = gather(d, taps, 2 * j);
                }
            const std::int64_t at = (2 * std::int64_t(j) + 1) * block + c;
            const auto after = gather(d, taps, at);
            auto sum = hn::Mul(hn::Set(d, float(width - j) * divisor), before);
            sum = hn::MulAdd(hn::Set(d, float(2 * width - 1 - j) * divisor), here, sum);
            sum = hn::MulAdd(hn::Set(d, float(width + j) * divisor), after, sum);
            if (j + 1 < width) {
                here = gather(d, taps, at + block);
                sum = hn::MulAdd(hn::Set(d, float(j + 1) * divisor), here, sum);
            }
            before = after;
            write_out<accumulate>(d, sum, d_x + std::int64_t(j) * block + c);
        }
    }
}

void forward_gap(Element element, const void* x0, const void* x1, Gap rows, Extent columns, void* y0,
                 void* y1, int block, int width) {
    for_element(element, [&](auto number) HWY_ATTR {
        using Number = decltype(number);
        for_block(block, [&](auto d) HWY_ATTR {
            forward_gaps(d, static_cast<const Number*>(x0), static_cast<const Number*>(x1), rows, columns,
                         static_cast<Number*>(y0), static_cast<Number*>(y1), block, width);
        });
    });
}

template <class Number>
void backward_row_of(const Taps<Number>& taps, Number* d_x, int block, int width, bool accumulate) {
    for_block(block, [&](auto d) HWY_ATTR {
        accumulate ? backward_columns<true>(d, taps, d_x, block, width)
                   : backward_columns<false>(d, taps, d_x, block, width);
    });
}

void backward_row(const Taps<float>& taps, float* d_x, int block, int width, bool accumulate) {
    backward_row_of(taps, d_x, block, width, accumulate);
}

void backward_bf16_row(const Taps<Bfloat16>& taps, Bfloat16* d_x, int block, int width, bool accumulate) {
    backward_row_of(taps, d_x, block, width, accumulate);
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(forward_gap);
HWY_EXPORT(backward_row);
HWY_EXPORT(backward_bf16_row);

/// extents(n): of the rows and of the columns of image n.
template <class Number, class Extents>
void forward(FeatureView<const Number> x, FeatureView<Number> y, const Extents& extents) {
    const int rows = x.shape.h, gaps = rows + 1, block = x.shape.block;
    const std::int64_t x_row = std::int64_t(x.shape.w) * block, y_row = 2 * x_row;
    parallel_rows(x.shape, gaps, y.shape.size(), [&](int n, std::int64_t plane, int k) {
        const auto [of_rows, of_columns] = extents(n);
        const Number* x0 = x.image(n) + plane * rows * x_row;
        Number* y0 = y.image(n) + plane * 2 * rows * y_row;
        // In the outermost gaps both input rows are the same, and so are both output rows.
        HWY_DYNAMIC_DISPATCH(forward_gap)
        (element_of<Number>, x0 + std::max(k - 1, 0) * x_row, x0 + std::min(k, rows - 1) * x_row,
         Gap(of_rows.first + k, of_rows.size), of_columns, y0 + std::max(2 * k - 1, 0) * y_row,
         y0 + std::min(2 * k, 2 * rows - 1) * y_row, block, x.shape.w);
    });
}

template <class Number>
void backward(FeatureView<const Number> d_y, FeatureView<Number> d_x, Write write) {
    const int rows = d_x.shape.h, block = d_x.shape.block;
    const std::int64_t x_row = std::int64_t(d_x.shape.w) * block, y_row = 2 * x_row;
    parallel_rows(d_x.shape, rows, d_y.shape.size(), [&](int n, std::int64_t plane, int i) {
        const Number* y0 = d_y.image(n) + plane * 2 * rows * y_row;
        const float divisor = float(2 * rows - 1);
        Taps<Number> taps;
        for (int tap = 0; tap < 4; ++tap)
            taps.row[tap] = y0 + std::clamp(2 * i - 1 + tap, 0, 2 * rows - 1) * y_row;
        taps.weight[0] = i > 0 ? float(rows - i) / divisor : 0.0f;
        taps.weight[1] = float(2 * rows - 1 - i) / divisor;
        taps.weight[2] = float(rows + i) / divisor;
        taps.weight[3] = i < rows - 1 ? float(i + 1) / divisor : 0.0f;
        Number* to = d_x.image(n) + (plane * rows + i) * x_row;
        if constexpr (element_of<Number> == Element::bf16)
            HWY_DYNAMIC_DISPATCH(backward_bf16_row)(taps, to, block, d_x.shape.w, write == Write::accumulate);
        else
            HWY_DYNAMIC_DISPATCH(backward_row)(taps, to, block, d_x.shape.w, write == Write::accumulate);
    });
}

/// The same of tensors of either element.
template <class Extents>
void forward_any(ConstView x, View y, const Extents& extents) {
    require_shape("upsample", "y", y.shape, upsample_shape(x.shape));
    for_element(x.shape.element, [&](auto number) {
        forward<decltype(number)>(as<decltype(number)>(x), as<decltype(number)>(y), extents);
    });
}

}  // namespace

void upsample_forward(ConstView x, View y) {
    forward_any(x, y, [&](int) { return std::pair(Extent{0, x.shape.h}, Extent{0, x.shape.w}); });
}

void upsample_window_forward(ConstView x, ConstView window, float scale, View y) {
    require_shape("upsample of a window", "window", window.shape, window_shape(x.shape.n));
    forward_any(x, y, [&](int n) {
        const float* of = window.image(n);
        const auto places = [&](int i) { return int(scale * of[i]); };
        return std::pair(Extent{places(0), places(2)}, Extent{places(1), places(3)});
    });
}

void upsample_backward(ConstView d_y, View d_x, Write write) {
    require_shape("upsample backward", "d_y", d_y.shape, upsample_shape(d_x.shape));
    for_element(d_x.shape.element, [&](auto number) {
        backward<decltype(number)>(as<decltype(number)>(d_y), as<decltype(number)>(d_x), write);
    });
}

}  // namespace tvmap::cpu
#endif
