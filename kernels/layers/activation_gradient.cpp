// d_a = d_y·leaky_relu'(y) and d_bias = Σ d_a.
//
// A plane of `block` channels is H·W·block consecutive floats, in which the channel of a float is its index
// mod block. It is cut into pieces of fixed length, one task each. A piece is summed into 16 places, index
// mod 16: in float over short runs, then in double; the places fold into channels since block divides 16. So
// one loop serves every block, and neither the threads nor the vector width touch the order of summation.
#include "kernels/layers/activation_gradient.h"

#include <algorithm>

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layers/activation_gradient.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

#ifndef TVMAP_KERNELS_ACTIVATION_GRADIENT_ONCE
#define TVMAP_KERNELS_ACTIVATION_GRADIENT_ONCE
namespace tvmap::cpu {
constexpr std::int64_t places = 16;
constexpr std::int64_t run_floats = 256 * places;     // floats summed in single precision: 256 per place
constexpr std::int64_t task_floats = 8 * run_floats;  // floats of one task
}  // namespace tvmap::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {

// One piece of `count` numbers; adds the 16 places' sums to `sums`. y is null where slope is 1.
template <class Number>
void piece_of(const Number* y, const Number* d_y, Number* d_a, std::int64_t count, float slope,
              double* sums) {
    const hn::CappedTag<float, places> d;
    constexpr std::int64_t lanes = hn::MaxLanes(hn::CappedTag<float, places>());
    constexpr std::int64_t vectors = places / lanes;
    const auto factor = hn::Set(d, slope), zero = hn::Zero(d);
    std::fill(sums, sums + places, 0.0);
    const std::int64_t whole = count - count % places;
    for (std::int64_t run = 0; run < whole; run += run_floats) {
        hn::Vec<decltype(d)> sum[vectors];
        for (auto& s : sum) s = zero;
        const std::int64_t end = std::min(run + run_floats, whole);
        for (std::int64_t k = run; k < end; k += places) {
            for (std::int64_t v = 0; v < vectors; ++v) {
                const std::int64_t at = k + v * lanes;
                auto g = load(d, d_y + at);
                if (y) g = hn::IfThenElse(hn::Gt(load(d, y + at), zero), g, hn::Mul(g, factor));
                if (d_a) store(g, d, d_a + at);
                sum[v] = hn::Add(sum[v], g);
            }
        }
        float run_sums[places];
        for (std::int64_t v = 0; v < vectors; ++v) hn::StoreU(sum[v], d, run_sums + v * lanes);
        for (std::int64_t p = 0; p < places; ++p) sums[p] += double(run_sums[p]);
    }
    const hn::CappedTag<float, 1> single;
    for (std::int64_t k = whole; k < count; ++k) {
        auto g = load(single, d_y + k);
        if (y)
            g = hn::IfThenElse(hn::Gt(load(single, y + k), hn::Zero(single)), g,
                               hn::Mul(g, hn::Set(single, slope)));
        if (d_a) store(g, single, d_a + k);
        sums[k - whole] += double(hn::GetLane(g));
    }
}

void gradient_piece(Element element, const void* y, const void* d_y, void* d_a, std::int64_t count,
                    float slope, double* sums) {
    for_element(element, [&](auto number) HWY_ATTR {
        using Number = decltype(number);
        piece_of(static_cast<const Number*>(y), static_cast<const Number*>(d_y), static_cast<Number*>(d_a),
                 count, slope, sums);
    });
}

}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
HWY_EXPORT(gradient_piece);

namespace {
std::int64_t tasks_of(const Features& shape) {
    const std::int64_t plane = std::int64_t(shape.h) * shape.w * shape.block;
    return (plane + task_floats - 1) / task_floats;
}
}  // namespace

std::size_t activation_gradient_workspace_bytes(const Features& shape) {
    return std::size_t(shape.n * shape.planes() * tasks_of(shape) * places) * sizeof(double);
}

namespace {

/// The sums of every task, 16 places each.
template <class Number>
void gather(FeatureView<const Number> y, FeatureView<const Number> d_y, FeatureView<Number> d_a, float slope,
            double* sums) {
    const Features& shape = d_y.shape;
    const std::int64_t plane_size = std::int64_t(shape.h) * shape.w * shape.block;
    const std::int64_t pieces = tasks_of(shape), planes = shape.planes();
    const bool copies = slope != 1.0f || d_a.data != d_y.data;
    parallel_for(shape.n * planes * pieces, 2 * shape.size(), [&](std::int64_t task) {
        const int image = int(task / (planes * pieces));
        const std::int64_t plane = task / pieces % planes, start = task % pieces * task_floats;
        const std::int64_t at = plane * plane_size + start;
        HWY_DYNAMIC_DISPATCH(gradient_piece)
        (element_of<Number>, slope != 1.0f ? y.image(image) + at : nullptr, d_y.image(image) + at,
         copies ? d_a.image(image) + at : nullptr, std::min(task_floats, plane_size - start), slope,
         sums + task * places);
    });
}

}  // namespace

void activation_gradient(ConstView y, ConstView d_y, View d_a, float slope, float* d_bias, Write write,
                         void* workspace) {
    const Features& shape = d_y.shape;
    const std::int64_t pieces = tasks_of(shape), planes = shape.planes();
    double* sums = static_cast<double*>(workspace);
    for_element(shape.element, [&](auto number) {
        using Number = decltype(number);
        gather<Number>(as<Number>(y), as<Number>(d_y), as<Number>(d_a), slope, sums);
    });
    for (int c = 0; c < shape.c; ++c) {
        double total = 0;
        for (int image = 0; image < shape.n; ++image)
            for (std::int64_t piece = 0; piece < pieces; ++piece) {
                const double* of_piece =
                    sums + ((image * planes + c / shape.block) * pieces + piece) * places;
                for (std::int64_t p = c % shape.block; p < places; p += shape.block) total += of_piece[p];
            }
        d_bias[c] = float(total) + (write == Write::accumulate ? d_bias[c] : 0.0f);
    }
}

}  // namespace tvmap::cpu
#endif
