// The pass for weights: transforms of x and of d_a, products, transforms back.
//     V[ξ][t][c] = (Bᵀ x_t,c B)_ξ      W[ξ][t][k] = (G₄ d_a_t,k G₄ᵀ)_ξ
//     S[ξ][c][k] = Σ_t V[ξ][t][c]·W[ξ][t][k]      d_weight_k,c = A₃ᵀ S[·][c][k] A₃
// A task adds up over its tiles, so many at a time as the caches hold; sums over those are taken back and added
// up, which keeps them short and the error small. Their order depends on the tiles alone, not on the channels
// computed together.
#include <type_traits>

#include "kernels/base/simd.h"
#include "kernels/winograd/winograd_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/winograd/winograd_weights.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"
#include "kernels/winograd/winograd_transforms.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

using winograd::points;
using winograd::WeightsTask;

// Memory of a task. L lanes, panels of P outputs: V is [c / L][36][t][L], W is [k / P][36][t][P].
template <class D>
struct WeightsLayout {
    static constexpr int lanes = int(hn::MaxLanes(D()));
    static constexpr int panel = lanes * panel_vectors<D>();

    explicit WeightsLayout(int capacity)
        : v_point(std::int64_t(capacity) * lanes + winograd::apart),
          v_vector(points * v_point),
          w_point(std::int64_t(capacity) * panel + winograd::apart),
          w_panel(points * w_point) {}

    std::int64_t v_point, v_vector, w_point, w_panel;
};

// The tile's 16 gradients through the activation: d_a, written where `d_a` is not null, and zeros outside the image.
// Adds them up to sum[row].
template <bool whole, bool activates, class D, class Number, class V = hn::Vec<D>>
HWY_INLINE void load_gradients(D d, const Number* y, const Number* d_y, Number* d_a, std::int64_t row_floats,
                               int block, int rows, int columns, V factor, V (&g)[4][4], V (&sum)[4]) {
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) {
            g[i][j] = hn::Zero(d);
            if (!whole && (i >= rows || j >= columns)) continue;
            const std::int64_t at = i * row_floats + j * block;
            g[i][j] = load(d, d_y + at);
            if constexpr (activates) {
                const auto positive = hn::Gt(load(d, y + at), hn::Zero(d));
                g[i][j] = hn::IfThenElse(positive, g[i][j], hn::Mul(g[i][j], factor));
            }
            if (d_a) store(g[i][j], d, d_a + at);
            sum[i] = hn::Add(sum[i], g[i][j]);
        }
}

template <class D>
HWY_INLINE void transform_gradient(D d, const hn::Vec<D> (&g)[4][4], float* to, std::int64_t w_point) {
    using V = hn::Vec<D>;
    V half[4][6];
    for (int j = 0; j < 4; ++j) {
        const V line[4] = {g[0][j], g[1][j], g[2][j], g[3][j]};
        gradient_line(d, line, half[j]);
    }
    for (int i = 0; i < 6; ++i) {
        const V line[4] = {half[0][i], half[1][i], half[2][i], half[3][i]};
        V w[6];
        gradient_line(d, line, w);
        for (int j = 0; j < 6; ++j, to += w_point) hn::Store(w[j], d, to);
    }
}

// W of the task's channels and `count` tiles from `first` on; d_a and the sums of d_bias on the way.
template <class Number, bool activates, class D>
HWY_INLINE void transform_gradients(D d, const WeightsTask& task, const WeightsLayout<D>& at,
                                    std::int64_t first, int count, float* w) {
    using V = hn::Vec<D>;
    constexpr int lanes = WeightsLayout<D>::lanes, panel = WeightsLayout<D>::panel;
    constexpr int most = 64;  // tiles whose d_bias is added up in single precision
    const Features& f = task.d_y.shape;
    const std::int64_t row_floats = std::int64_t(f.w) * f.block, plane_floats = f.h * row_floats;
    const int step = 4 * f.block, outputs = task.to - task.from;
    const V factor = hn::Set(d, task.slope);
    const auto all_y = as<Number>(task.y), all_d_y = as<Number>(task.d_y);
    const auto all_d_a = as<Number>(task.d_a);
    for (Stretches tiles(f, first, count, most); tiles.next();) {
        const std::int64_t corner = 4 * tiles.row * row_floats + std::int64_t(4 * tiles.column) * f.block;
        const int rows = std::min(4, f.h - 4 * tiles.row);
        for (int k = 0; k < outputs; k += lanes) {
            const int channel = task.from + k;
            const std::int64_t place = channel / f.block * plane_floats + channel % f.block + corner;
            const Number* y = activates ? all_y.image(tiles.image) + place : nullptr;
            const Number* d_y = all_d_y.image(tiles.image) + place;
            Number* d_a = task.d_a.data ? all_d_a.image(tiles.image) + place : nullptr;
            const int in_panel = k % panel, width = std::min(panel, outputs - (k - in_panel));
            float* to = w + k / panel * at.w_panel + std::int64_t(tiles.t) * width + in_panel;
            V sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
            for (int s = 0; s < tiles.length; ++s, to += width, d_y += step) {
                const int columns = std::min(4, f.w - 4 * (tiles.column + s));
                V g[4][4];
                if (rows == 4 && columns == 4) {
                    load_gradients<true, activates>(d, y, d_y, d_a, row_floats, f.block, 4, 4, factor, g,
                                                    sum);
                } else {
                    load_gradients<false, activates>(d, y, d_y, d_a, row_floats, f.block, rows, columns,
                                                     factor, g, sum);
                }
                transform_gradient(d, g, to, at.w_point);
                if (activates) y += step;
                if (d_a) d_a += step;
            }
            alignas(64) float sums[lanes];
            hn::Store(hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3])), d, sums);
            for (int lane = 0; lane < lanes; ++lane) task.bias_sums[k + lane] += double(sums[lane]);
        }
    }
}

// S of `rows` input channels and a panel, one point: sums over the tiles.
template <int rows, int vectors, class D>
HWY_INLINE void sum_of_tiles(D d, int count, const float* v, const float* w, float* s) {
    constexpr int lanes = int(hn::MaxLanes(d)), width = lanes * vectors;
    hn::Vec<D> sum[rows][vectors];
    for (int r = 0; r < rows; ++r)
        for (int k = 0; k < vectors; ++k) sum[r][k] = hn::Zero(d);
    for (int t = 0; t < count; ++t, v += lanes, w += width) {
        hn::Vec<D> gradient[vectors];
        for (int k = 0; k < vectors; ++k) gradient[k] = hn::Load(d, w + k * lanes);
        for (int r = 0; r < rows; ++r) {
            const hn::Vec<D> value = hn::Set(d, v[r]);
            for (int k = 0; k < vectors; ++k) sum[r][k] = hn::MulAdd(value, gradient[k], sum[r][k]);
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int k = 0; k < vectors; ++k) hn::Store(sum[r][k], d, s + r * width + k * lanes);
}

// d_weight of L input channels and a panel from S, [36][L][width], to [L][9][width].
template <bool accumulate, class D>
HWY_INLINE void transform_sums(D d, const float* s, int width, float* to) {
    using V = hn::Vec<D>;
    constexpr int lanes = int(hn::MaxLanes(d));
    const std::int64_t s_point = lanes * width;
    for (int c = 0; c < lanes; ++c)
        for (int k = 0; k < width; k += lanes) {
            const float* from = s + c * width + k;
            V half[3][6];
            for (int j = 0; j < 6; ++j) {
                V line[6], g[3];
                for (int i = 0; i < 6; ++i) line[i] = hn::Load(d, from + (6 * i + j) * s_point);
                weight_gradient_line(d, line, g);
                for (int i = 0; i < 3; ++i) half[i][j] = g[i];
            }
            for (int i = 0; i < 3; ++i) {
                V g[3];
                weight_gradient_line(d, half[i], g);
                for (int j = 0; j < 3; ++j)
                    write_out<accumulate>(d, g[j], to + (c * 9 + 3 * i + j) * width + k);
            }
        }
}

template <int vectors, class D>
HWY_INLINE void sums_of_panel(D d, const WeightsLayout<D>& at, int inputs, int count,
                              const winograd::TransformedTiles& tiles, const float* w, bool adds, float* to) {
    constexpr int lanes = WeightsLayout<D>::lanes, width = lanes * vectors;
    constexpr int rows = lanes > 4 ? lanes / 2 : lanes;
    alignas(64) float s[points * lanes * width];
    const float* v = tiles.data;
    for (int c = 0; c < inputs; c += lanes, v += tiles.vector, to += lanes * 9 * width) {
        for (int point = 0; point < points; ++point)
            for (int row = 0; row < lanes; row += rows)
                sum_of_tiles<rows, vectors>(d, count, v + point * tiles.point + row, w + point * at.w_point,
                                            s + (point * lanes + row) * width);
        if (adds) {
            transform_sums<true>(d, s, width, to);
        } else {
            transform_sums<false>(d, s, width, to);
        }
    }
}

template <class D>
HWY_INLINE void gather_weights(D d, const WeightsTask& task) {
    constexpr int lanes = WeightsLayout<D>::lanes, panel = WeightsLayout<D>::panel;
    const int inputs = task.x.shape.c, outputs = task.to - task.from;
    const WeightsLayout<D> at(task.capacity);
    winograd::TransformedTiles v = task.v;
    float* w = task.scratch;
    if (!v.data) {
        v = {w, at.v_vector, at.v_point};
        w += inputs / lanes * at.v_vector;
    }
    std::fill(task.bias_sums, task.bias_sums + outputs, 0.0);
    for (std::int64_t done = 0; done < task.count; done += task.capacity) {
        const int count = int(std::min<std::int64_t>(task.capacity, task.count - done));
        if (!task.v.data)
            for_element(task.x.shape.element, [&](auto number) HWY_ATTR {
                transform_tiles(d, as<decltype(number)>(task.x), task.first + done, count, 0, inputs, v);
            });
        for_element(task.d_y.shape.element, [&](auto number) HWY_ATTR {
            if (task.slope != 1.0f) {
                transform_gradients<decltype(number), true>(d, task, at, task.first + done, count, w);
            } else {
                transform_gradients<decltype(number), false>(d, task, at, task.first + done, count, w);
            }
        });
        for (int k = 0; k < outputs; k += panel) {
            float* const to = task.sums + std::int64_t(k) * inputs * 9;
            if (k + panel <= outputs) {
                sums_of_panel<panel_vectors<D>()>(d, at, inputs, count, v, w + k / panel * at.w_panel,
                                                  done > 0, to);
            } else {
                sums_of_panel<panel_vectors<D>() / 2>(d, at, inputs, count, v, w + k / panel * at.w_panel,
                                                      done > 0, to);
            }
        }
    }
}

void gather_weight_gradients(const WeightsTask& task) {
    for_block(std::min(task.x.shape.block, task.d_y.shape.block), [&](auto d) HWY_ATTR {
        if constexpr (hn::MaxLanes(d) > 1) gather_weights(d, task);
    });
}

// Sums of one panel, `vectors` wide, [input][9][width] in each piece, to d_weight from the panel's first output on.
template <bool adds, int vectors, class D>
HWY_INLINE void write_gradients(D d, const float* sums, int pieces, std::int64_t of_piece, int inputs,
                                float* d_weight) {
    constexpr int lanes = int(hn::MaxLanes(d)), width = lanes * vectors;
    const std::int64_t floats = std::int64_t(9) * inputs;  // of an output; a multiple of L
    for (std::int64_t i = 0; i < floats; i += lanes)
        for (int k = 0; k < width; k += lanes) {
            hn::Vec<D> rows[lanes];
            for (int r = 0; r < lanes; ++r) {
                const float* const from = sums + (i + r) * width + k;
                rows[r] = hn::Load(d, from);
                for (int piece = 1; piece < pieces; ++piece)
                    rows[r] = hn::Add(rows[r], hn::Load(d, from + piece * of_piece));
            }
            transpose(d, rows);
            for (int r = 0; r < lanes; ++r) write_out<adds>(d, rows[r], d_weight + (k + r) * floats + i);
        }
}

void write_panel(const float* sums, int pieces, std::int64_t of_piece, int block, int inputs, int from,
                 int width, bool adds, float* d_weight) {
    for_block(block, [&](auto d) HWY_ATTR {
        using D = decltype(d);
        if constexpr (hn::MaxLanes(d) > 1) {
            constexpr int vectors = panel_vectors<D>();
            const auto write = [&](auto adding) HWY_ATTR {
                float* const to = d_weight + std::int64_t(9) * inputs * from;
                if (width == WeightsLayout<D>::panel) {
                    write_gradients<adding, vectors>(d, sums, pieces, of_piece, inputs, to);
                } else {
                    write_gradients<adding, vectors / 2>(d, sums, pieces, of_piece, inputs, to);
                }
            };
            if (adds) {
                write(std::true_type());
            } else {
                write(std::false_type());
            }
        }
    });
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(gather_weight_gradients);
HWY_EXPORT(write_panel);
}  // namespace

namespace winograd {

std::int64_t weights_scratch_floats(int inputs, int outputs, int capacity, bool makes_v) {
    return transformed_tiles_floats(outputs, capacity) +
           (makes_v ? transformed_tiles_floats(inputs, capacity) : 0);
}

void gather_weight_gradients(const WeightsTask& task) { HWY_DYNAMIC_DISPATCH(gather_weight_gradients)(task); }

void write_weight_gradients(const float* sums, int pieces, std::int64_t of_piece, int block, int inputs,
                            int from, int width, Write write, float* d_weight) {
    HWY_DYNAMIC_DISPATCH(write_panel)
    (sums, pieces, of_piece, block, inputs, from, width, write == Write::accumulate, d_weight);
}

}  // namespace winograd
}  // namespace tvmap::cpu
#endif
