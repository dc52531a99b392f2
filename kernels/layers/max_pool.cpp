// One output row at a time. In blocked storage a vector holds neighbouring channels of one pixel, in planar
// storage neighbouring pixels, split into even and odd columns as they are loaded.
#include "kernels/layers/max_pool.h"

#include <algorithm>
#include <type_traits>

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layers/max_pool.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

/// Loads the left and right columns of neighbouring windows' rows.
template <bool planar, class D, class Number>
HWY_INLINE void load_pair(D d, const Number* x, int block, hn::Vec<D>& left, hn::Vec<D>& right) {
    if constexpr (planar) {
        hn::LoadInterleaved2(d, x, left, right);
    } else {
        left = load(d, x);
        right = load(d, x + block);
    }
}

template <bool planar, bool accumulate, class D, class Number>
HWY_INLINE void store_pair(D d, hn::Vec<D> left, hn::Vec<D> right, Number* x, int block) {
    if constexpr (accumulate) {
        hn::Vec<D> old_left = hn::Zero(d), old_right = hn::Zero(d);
        load_pair<planar>(d, x, block, old_left, old_right);
        left = hn::Add(left, old_left);
        right = hn::Add(right, old_right);
    }
    if constexpr (planar) {
        hn::StoreInterleaved2(left, right, d, x);
    } else {
        store(left, d, x);
        store(right, d, x + block);
    }
}

/// Where x takes the maximum over: it is larger, or not a number (which then stays).
template <class V>
HWY_INLINE auto takes_over(V x, V maximum) {
    return hn::Or(hn::Gt(x, maximum), hn::IsNaN(x));
}

/// Output columns from `begin` on, as many whole steps as fit; returns the first column left over.
template <bool planar, class D, class Number>
int forward_columns(D d, const Number* x0, const Number* x1, Number* y, int block, int begin, int width) {
    const int lanes = int(hn::Lanes(d)), step = planar ? lanes : 1;
    hn::Vec<D> a = hn::Zero(d), b = a, e = a, f = a;
    int j = begin;
    for (; j + step <= width; j += step)
        for (int c = 0; c < block; c += lanes) {
            const std::int64_t at = 2 * std::int64_t(j) * block + c;
            load_pair<planar>(d, x0 + at, block, a, b);
            load_pair<planar>(d, x1 + at, block, e, f);
            auto m = a;
            m = hn::IfThenElse(takes_over(b, m), b, m);
            m = hn::IfThenElse(takes_over(e, m), e, m);
            m = hn::IfThenElse(takes_over(f, m), f, m);
            store(m, d, y + std::int64_t(j) * block + c);
        }
    return j;
}

template <bool planar, bool accumulate, class D, class Number>
int backward_columns(D d, const Number* x0, const Number* x1, const Number* d_y, Number* d_x0, Number* d_x1,
                     int block, int begin, int width) {
    const int lanes = int(hn::Lanes(d)), step = planar ? lanes : 1;
    hn::Vec<D> a = hn::Zero(d), b = a, e = a, f = a;
    int j = begin;
    for (; j + step <= width; j += step)
        for (int c = 0; c < block; c += lanes) {
            const std::int64_t at = 2 * std::int64_t(j) * block + c;
            load_pair<planar>(d, x0 + at, block, a, b);
            load_pair<planar>(d, x1 + at, block, e, f);
            const auto b_over = takes_over(b, a);
            auto m = hn::IfThenElse(b_over, b, a);
            const auto e_over = takes_over(e, m);
            m = hn::IfThenElse(e_over, e, m);
            const auto f_over = takes_over(f, m);
            // The last one to take over has the gradient.
            auto g = load(d, d_y + std::int64_t(j) * block + c);
            const auto to_f = hn::IfThenElseZero(f_over, g);
            g = hn::IfThenZeroElse(f_over, g);
            const auto to_e = hn::IfThenElseZero(e_over, g);
            g = hn::IfThenZeroElse(e_over, g);
            const auto to_b = hn::IfThenElseZero(b_over, g);
            store_pair<planar, accumulate>(d, hn::IfThenZeroElse(b_over, g), to_b, d_x0 + at, block);
            store_pair<planar, accumulate>(d, to_e, to_f, d_x1 + at, block);
        }
    return j;
}

void forward_row(Element element, const void* x0, const void* x1, void* y, int block, int width) {
    for_element(element, [&](auto number) HWY_ATTR {
        using Number = decltype(number);
        const auto *above = static_cast<const Number*>(x0), *below = static_cast<const Number*>(x1);
        auto* to = static_cast<Number*>(y);
        int rest = 0;
        if constexpr (std::is_same_v<Number, float>)
            if (block == 1)
                rest = forward_columns<true>(hn::ScalableTag<float>(), above, below, to, 1, 0, width);
        for_block(block, [&](auto channels) HWY_ATTR {
            forward_columns<false>(channels, above, below, to, block, rest, width);
        });
    });
}

template <bool accumulate, class Number>
void backward_row_to(const Number* x0, const Number* x1, const Number* d_y, Number* d_x0, Number* d_x1,
                     int block, int width) {
    int rest = 0;
    if constexpr (std::is_same_v<Number, float>)
        if (block == 1)
            rest = backward_columns<true, accumulate>(hn::ScalableTag<float>(), x0, x1, d_y, d_x0, d_x1, 1, 0,
                                                      width);
    for_block(block, [&](auto channels) HWY_ATTR {
        backward_columns<false, accumulate>(channels, x0, x1, d_y, d_x0, d_x1, block, rest, width);
    });
}

void backward_row(Element element, const void* x0, const void* x1, const void* d_y, void* d_x0, void* d_x1,
                  int block, int width, bool accumulate) {
    for_element(element, [&](auto number) HWY_ATTR {
        using Number = decltype(number);
        const auto *above = static_cast<const Number*>(x0), *below = static_cast<const Number*>(x1),
                   *g = static_cast<const Number*>(d_y);
        auto *d_above = static_cast<Number*>(d_x0), *d_below = static_cast<Number*>(d_x1);
        accumulate ? backward_row_to<true>(above, below, g, d_above, d_below, block, width)
                   : backward_row_to<false>(above, below, g, d_above, d_below, block, width);
    });
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(forward_row);
HWY_EXPORT(backward_row);

template <class Number>
void forward(FeatureView<const Number> x, FeatureView<Number> y) {
    const int rows = y.shape.h, block = x.shape.block;
    const std::int64_t x_row = std::int64_t(x.shape.w) * block, y_row = std::int64_t(y.shape.w) * block;
    parallel_rows(x.shape, rows, x.shape.size(), [&](int n, std::int64_t plane, int i) {
        const Number* x0 = x.image(n) + (plane * x.shape.h + 2 * i) * x_row;
        Number* y0 = y.image(n) + (plane * rows + i) * y_row;
        HWY_DYNAMIC_DISPATCH(forward_row)
        (element_of<Number>, x0, x0 + x_row, y0, block, y.shape.w);
    });
}

template <class Number>
void backward(FeatureView<const Number> x, FeatureView<const Number> d_y, FeatureView<Number> d_x,
              Write write) {
    const bool accumulate = write == Write::accumulate;
    const int rows = d_y.shape.h, block = x.shape.block;
    const std::int64_t x_row = std::int64_t(x.shape.w) * block, y_row = std::int64_t(d_y.shape.w) * block;
    parallel_rows(x.shape, rows, 2 * x.shape.size(), [&](int n, std::int64_t plane, int i) {
        const std::int64_t at = (plane * x.shape.h + 2 * i) * x_row;
        const Number* x0 = x.image(n) + at;
        const Number* g = d_y.image(n) + (plane * rows + i) * y_row;
        Number* d_x0 = d_x.image(n) + at;
        HWY_DYNAMIC_DISPATCH(backward_row)
        (element_of<Number>, x0, x0 + x_row, g, d_x0, d_x0 + x_row, block, d_y.shape.w, accumulate);
        if (accumulate) return;
        // The odd last column and row are in no window.
        if (x.shape.w % 2)
            for (Number* row : {d_x0, d_x0 + x_row}) std::fill(row + x_row - block, row + x_row, Number());
        if (x.shape.h % 2 && i == rows - 1) std::fill(d_x0 + 2 * x_row, d_x0 + 3 * x_row, Number());
    });
}

}  // namespace

void max_pool_forward(ConstView x, View y) {
    require_shape("max_pool", "y", y.shape, max_pool_shape(x.shape));
    for_element(x.shape.element, [&](auto number) {
        forward<decltype(number)>(as<decltype(number)>(x), as<decltype(number)>(y));
    });
}

void max_pool_backward(ConstView x, ConstView d_y, View d_x, Write write) {
    require_shape("max_pool backward", "d_y", d_y.shape, max_pool_shape(x.shape));
    require_shape("max_pool backward", "d_x", d_x.shape, x.shape);
    for_element(x.shape.element, [&](auto number) {
        backward<decltype(number)>(as<decltype(number)>(x), as<decltype(number)>(d_y),
                                   as<decltype(number)>(d_x), write);
    });
}

}  // namespace tvmap::cpu
#endif
