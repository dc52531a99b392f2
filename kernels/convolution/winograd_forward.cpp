// Forward and data passes: transforms of weights, and of tiles, products, transforms back.
//     V[ξ][t][c] = (Bᵀ x_t,c B)_ξ        M[ξ][t][k] = Σ_c V[ξ][t][c]·U[ξ][c][k]        y_t,k = Aᵀ M[·][t][k] A
// for 36 points ξ. A task takes so few tiles that V and M stay in the second cache. The sum over c has one order,
// whatever tiles and channels are computed together.
#include "kernels/base/simd.h"
#include "kernels/convolution/winograd_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convolution/winograd_forward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"
#include "kernels/convolution/winograd_lines.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

using winograd::points;
using winograd::TilesTask;
using winograd::Tiling;
constexpr std::int64_t apart = winograd::apart;

// Memory of a task. L lanes: V is [36][c / L][t][L], M is [k / L][36][t][L].
template <class D>
struct Layout {
    static constexpr int lanes = int(hn::MaxLanes(D()));
    static constexpr int panel = lanes * panel_vectors<D>();

    Layout(int inputs, int capacity)
        : v_step(std::int64_t(capacity) * lanes),
          v_point(inputs / lanes * v_step + apart),
          m_point(v_step + apart),
          m_vector(points * m_point),
          u_point(std::int64_t(inputs) * panel + apart),
          u_panel(points * u_point) {}

    std::int64_t v_step, v_point, m_point, m_vector, u_point, u_panel;
};

// M[t…t+rows][vectors] = V·U for one point.
template <int rows, int vectors, class D>
HWY_INLINE void product(D d, int inputs, const float* v, std::int64_t v_step, const float* u, float* m,
                        std::int64_t m_vector) {
    constexpr int lanes = int(hn::MaxLanes(d));
    hn::Vec<D> sum[rows][vectors];
    for (int r = 0; r < rows; ++r)
        for (int k = 0; k < vectors; ++k) sum[r][k] = hn::Zero(d);
    for (int c = 0; c < inputs; c += lanes, v += v_step, u += lanes * lanes * vectors) {
#pragma GCC unroll 16
        for (int lane = 0; lane < lanes; ++lane) {
            hn::Vec<D> w[vectors];
            for (int k = 0; k < vectors; ++k) w[k] = hn::Load(d, u + (lane * vectors + k) * lanes);
            for (int r = 0; r < rows; ++r) {
                const hn::Vec<D> value = hn::Set(d, v[r * lanes + lane]);
                for (int k = 0; k < vectors; ++k) sum[r][k] = hn::MulAdd(value, w[k], sum[r][k]);
            }
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int k = 0; k < vectors; ++k) hn::Store(sum[r][k], d, m + k * m_vector + r * lanes);
}

template <int vectors, class D>
HWY_INLINE void products_of_panel(D d, const Layout<D>& at, int inputs, int count, const float* v,
                                  const float* u, float* m) {
    constexpr int lanes = Layout<D>::lanes, third = panel_rows<D>() / 3;
    for (int t = 0; t < count;) {
        const int left = (count - t + third - 1) / third;
        const float* const from = v + t * lanes;
        float* const to = m + t * lanes;
        if (left == 1) {
            product<third, vectors>(d, inputs, from, at.v_step, u, to, at.m_vector);
            t += third;
        } else if (left == 2 || left == 4) {
            product<2 * third, vectors>(d, inputs, from, at.v_step, u, to, at.m_vector);
            t += 2 * third;
        } else {
            product<3 * third, vectors>(d, inputs, from, at.v_step, u, to, at.m_vector);
            t += 3 * third;
        }
    }
}

// Calls body(image, row, column, length, t) for stretches of at most `most` tiles of a row that make up the task's.
template <class Body>
HWY_INLINE void for_each_stretch(const TilesTask& task, const Tiling& tiling, int most, const Body& body) {
    for (int t = 0; t < task.count;) {
        const std::int64_t index = task.first + t;
        const int column = int(index % tiling.columns), row = int(index / tiling.columns % tiling.rows);
        const int length = std::min({task.count - t, tiling.columns - column, most});
        body(int(index / tiling.columns / tiling.rows), row, column, length, t);
        t += length;
    }
}

constexpr int stretch = 8;  // tiles whose columns are transformed together

// Columns [left, left + count) of the six rows from `top` on, transformed along them: [count][6][L].
template <bool inside, class D>
HWY_INLINE void transform_columns(D d, const float* plane, const Features& f, int top, int left, int count,
                                  float* to) {
    constexpr int lanes = int(hn::MaxLanes(d));
    const auto clear = [&](int from, int end) HWY_ATTR {
        for (int k = from * 6; k < end * 6; ++k) hn::Store(hn::Zero(d), d, to + k * lanes);
    };
    const int first = std::max(0, -left), end = std::max(first, std::min(count, f.w - left));
    clear(0, first);
    const std::int64_t row_floats = std::int64_t(f.w) * f.block;
    const float* from = plane + top * row_floats + std::int64_t(left + first) * f.block;
    for (int j = first; j < end; ++j, from += f.block) {
        hn::Vec<D> x[6], v[6];
        for (int i = 0; i < 6; ++i) {
            x[i] = inside || (top + i >= 0 && top + i < f.h) ? hn::Load(d, from + i * row_floats) : hn::Zero(d);
        }
        input_line(d, x, v);
        for (int i = 0; i < 6; ++i) hn::Store(v[i], d, to + (j * 6 + i) * lanes);
    }
    clear(end, count);
}

template <class D>
HWY_INLINE void transform_tiles(D d, const TilesTask& task, const Layout<D>& at, float* v) {
    constexpr int lanes = Layout<D>::lanes;
    alignas(64) float columns[(4 * stretch + 2) * 6 * lanes];
    const Features& f = task.x.shape;
    for_each_stretch(task, Tiling(f), stretch, [&](int image, int row, int column, int length, int t) HWY_ATTR {
        const int top = 4 * row - 1, left = 4 * column - 1;
        const bool inside = top >= 0 && top + 6 <= f.h;
        for (int c = 0; c < f.c; c += lanes) {
            const float* plane = task.x.image(image) + std::int64_t(c / f.block) * f.h * f.w * f.block + c % f.block;
            if (inside) {
                transform_columns<true>(d, plane, f, top, left, 4 * length + 2, columns);
            } else {
                transform_columns<false>(d, plane, f, top, left, 4 * length + 2, columns);
            }
            for (int s = 0; s < length; ++s) {
                float* to = v + c / lanes * at.v_step + (t + s) * lanes;
                for (int i = 0; i < 6; ++i) {
                    hn::Vec<D> x[6], w[6];
                    for (int j = 0; j < 6; ++j) x[j] = hn::Load(d, columns + ((4 * s + j) * 6 + i) * lanes);
                    input_line(d, x, w);
                    for (int j = 0; j < 6; ++j, to += at.v_point) hn::Store(w[j], d, to);
                }
            }
        }
    });
}

// The results of one tile and vector of channels, to the pixels [0, rows)×[0, columns) at `to`.
template <bool accumulate, class D>
HWY_INLINE void transform_back(D d, const float* m, std::int64_t m_point, hn::Vec<D> bias, float slope, float* to,
                               std::int64_t row_floats, int block, int rows, int columns) {
    using V = hn::Vec<D>;
    V half[4][6];
    for (int j = 0; j < 6; ++j) {
        V x[6], y[4];
        for (int i = 0; i < 6; ++i) x[i] = hn::Load(d, m + (6 * i + j) * m_point);
        output_line(d, x, y);
        for (int i = 0; i < 4; ++i) half[i][j] = y[i];
    }
    const V factor = hn::Set(d, slope);
    const auto finish = [&](V value, float* place) HWY_ATTR {
        value = hn::Add(value, bias);
        if (slope != 1.0f) value = hn::IfThenElse(hn::Gt(value, hn::Zero(d)), value, hn::Mul(factor, value));
        if (accumulate) value = hn::Add(hn::Load(d, place), value);
        hn::Store(value, d, place);
    };
    if (rows == 4 && columns == 4) {
        for (int i = 0; i < 4; ++i) {
            V y[4];
            output_line(d, half[i], y);
            for (int j = 0; j < 4; ++j) finish(y[j], to + i * row_floats + j * block);
        }
        return;
    }
    for (int i = 0; i < rows; ++i) {
        V y[4];
        output_line(d, half[i], y);
        for (int j = 0; j < 4; ++j)
            if (j < columns) finish(y[j], to + i * row_floats + j * block);
    }
}

template <bool accumulate, class D>
HWY_INLINE void transform_channels_back(D d, const TilesTask& task, const Layout<D>& at, int from, int to,
                                        const float* m) {
    constexpr int lanes = Layout<D>::lanes;
    const Features& f = task.y.shape;
    const std::int64_t row_floats = std::int64_t(f.w) * f.block;
    for_each_stretch(task, Tiling(f), 1 << 30, [&](int image, int row, int column, int length, int t) HWY_ATTR {
        for (int k = from; k < to; k += lanes) {
            float* place = task.y.image(image) + std::int64_t(k / f.block) * f.h * row_floats + k % f.block +
                           4 * row * row_floats + std::int64_t(4 * column) * f.block;
            const auto bias = task.bias ? hn::LoadU(d, task.bias + k) : hn::Zero(d);
            const float* source = m + (k - from) / lanes * at.m_vector + t * lanes;
            for (int s = 0; s < length; ++s, source += lanes, place += 4 * f.block)
                transform_back<accumulate>(d, source, at.m_point, bias, task.slope, place, row_floats, f.block,
                                           std::min(4, f.h - 4 * row), std::min(4, f.w - 4 * (column + s)));
        }
    });
}

template <class D>
HWY_INLINE void convolve(D d, const TilesTask& task) {
    constexpr int lanes = Layout<D>::lanes, panel = Layout<D>::panel;
    const int inputs = task.x.shape.c;
    const Layout<D> at(inputs, task.capacity);
    float* const v = task.scratch;
    float* const m = v + points * at.v_point;
    transform_tiles(d, task, at, v);
    for (int from = task.from; from < task.to; from += task.together) {
        const int to = std::min(from + task.together, task.to);
        for (int point = 0; point < points; ++point)
            for (int k = from; k < to; k += panel) {
                const float* const u = task.weight + k / panel * at.u_panel + point * at.u_point;
                float* const result = m + (k - from) / lanes * at.m_vector + point * at.m_point;
                if (k + panel <= to) {
                    products_of_panel<panel_vectors<D>()>(d, at, inputs, task.count, v + point * at.v_point, u, result);
                } else {
                    products_of_panel<panel_vectors<D>() / 2>(d, at, inputs, task.count, v + point * at.v_point, u,
                                                              result);
                }
            }
        if (task.accumulate) {
            transform_channels_back<true>(d, task, at, from, to, m);
        } else {
            transform_channels_back<false>(d, task, at, from, to, m);
        }
    }
}

void convolve_tiles(const TilesTask& task) {
    for_block(std::min(task.x.shape.block, task.y.shape.block), [&](auto d) HWY_ATTR {
        if constexpr (hn::MaxLanes(d) > 1) convolve(d, task);
    });
}

// One panel of outputs, `vectors` wide, at one input channel.
template <int vectors, class D>
HWY_INLINE void transform_weight(D d, const float* weight, std::int64_t step, bool turned, float* to,
                                 std::int64_t u_point) {
    using V = hn::Vec<D>;
    constexpr int lanes = int(hn::MaxLanes(d)), width = lanes * vectors;
    alignas(64) float g[9 * width];
    for (int k = 0; k < width; ++k)
        for (int i = 0; i < 9; ++i) g[i * width + k] = weight[k * step + (turned ? 8 - i : i)];
    for (int k = 0; k < vectors; ++k) {
        V half[3][6];
        for (int j = 0; j < 3; ++j) {
            V line[3];
            for (int i = 0; i < 3; ++i) line[i] = hn::Load(d, g + (3 * i + j) * width + k * lanes);
            weight_line(d, line, half[j]);
        }
        for (int i = 0; i < 6; ++i) {
            const V line[3] = {half[0][i], half[1][i], half[2][i]};
            V u[6];
            weight_line(d, line, u);
            for (int j = 0; j < 6; ++j) hn::Store(u[j], d, to + (6 * i + j) * u_point + k * lanes);
        }
    }
}

void transform_weights(const float* weight, int inputs, int outputs, bool transposed, int block, int panel,
                       int from, int to, float* transformed) {
    for_block(block, [&](auto d) HWY_ATTR {
        using D = decltype(d);
        if constexpr (hn::MaxLanes(d) > 1) {
            constexpr int vectors = panel_vectors<D>(), width = Layout<D>::panel;
            const Layout<D> at(inputs, 0);
            const int k = panel * width;
            const bool whole = k + width <= outputs;
            const std::int64_t input_step = transposed ? 9 * outputs : 9, output_step = transposed ? 9 : 9 * inputs;
            for (int c = from; c < to; ++c) {
                const float* const source = weight + k * output_step + c * input_step;
                float* const place = transformed + panel * at.u_panel;
                if (whole) {
                    transform_weight<vectors>(d, source, output_step, transposed, place + c * width, at.u_point);
                } else {
                    transform_weight<vectors / 2>(d, source, output_step, transposed, place + c * (width / 2),
                                                  at.u_point);
                }
            }
        }
    });
}

int panel_width(int block) {
    int width = 0;
    for_block(block, [&](auto d) HWY_ATTR { width = Layout<decltype(d)>::panel; });
    return width;
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(convolve_tiles);
HWY_EXPORT(transform_weights);
HWY_EXPORT(panel_width);
}  // namespace

namespace winograd {

int panel_width(int block) { return HWY_DYNAMIC_DISPATCH(panel_width)(block); }

std::int64_t transformed_weight_floats(int inputs, int outputs, int block) {
    const int width = panel_width(block);
    return (outputs + width - 1) / width * points * (std::int64_t(inputs) * width + apart);
}

std::int64_t tiles_scratch_floats(int inputs, int together, int capacity) {
    const std::int64_t floats = std::int64_t(capacity) * (inputs + together);
    return points * (floats + apart + together / 4 * apart);
}

void transform_weights(const float* weight, int inputs, int outputs, bool transposed, int block, int panel,
                       int from, int to, float* transformed) {
    HWY_DYNAMIC_DISPATCH(transform_weights)
    (weight, inputs, outputs, transposed, block, panel, from, to, transformed);
}

void convolve_tiles(const TilesTask& task) { HWY_DYNAMIC_DISPATCH(convolve_tiles)(task); }

}  // namespace winograd
}  // namespace tvmap::cpu
#endif
