// Forward and data passes: transforms of weights, and of tiles, products, transforms back.
//     V[ξ][t][c] = (Bᵀ x_t,c B)_ξ        M[ξ][t][k] = Σ_c V[ξ][t][c]·U[ξ][c][k]        y_t,k = Aᵀ M[·][t][k] A
// for 36 points ξ. A task takes so few tiles that V and M stay in the second cache. The sum over c has one order,
// whatever tiles and channels are computed together.
#include <type_traits>

#include "kernels/base/simd.h"
#include "kernels/winograd/winograd_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/winograd/winograd_forward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"
#include "kernels/winograd/winograd_transforms.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

using winograd::points;
using winograd::TilesTask;
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

// Channels that one chain of additions takes in; longer sums are made of several, which keeps the error small.
constexpr int chain = 64;

// M[t…t+rows][vectors] = V·U for one point.
template <int rows, int vectors, class D>
HWY_INLINE void product(D d, int inputs, const float* v, std::int64_t v_vector, const float* u, float* m,
                        std::int64_t m_vector) {
    constexpr int lanes = int(hn::MaxLanes(d));
    for (int done = 0; done < inputs; done += chain) {
        hn::Vec<D> sum[rows][vectors];
        for (int r = 0; r < rows; ++r)
            for (int k = 0; k < vectors; ++k) sum[r][k] = hn::Zero(d);
        const int end = std::min(inputs, done + chain);
        for (int c = done; c < end; c += lanes, v += v_vector, u += lanes * lanes * vectors) {
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
        const auto write = [&](auto adds) HWY_ATTR {
            for (int r = 0; r < rows; ++r)
                for (int k = 0; k < vectors; ++k) write_out<adds>(d, sum[r][k], m + k * m_vector + r * lanes);
        };
        if (done > 0) {
            write(std::true_type());
        } else {
            write(std::false_type());
        }
    }
}

template <int vectors, class D>
HWY_INLINE void products_of_panel(D d, const Layout<D>& at, int inputs, int count, const float* v,
                                  std::int64_t v_vector, const float* u, float* m) {
    constexpr int lanes = Layout<D>::lanes, third = panel_rows<D>() / 3;
    for (int t = 0; t < count;) {
        const int left = (count - t + third - 1) / third;
        const float* const from = v + t * lanes;
        float* const to = m + t * lanes;
        if (left == 1) {
            product<third, vectors>(d, inputs, from, v_vector, u, to, at.m_vector);
            t += third;
        } else if (left == 2 || left == 4) {
            product<2 * third, vectors>(d, inputs, from, v_vector, u, to, at.m_vector);
            t += 2 * third;
        } else {
            product<3 * third, vectors>(d, inputs, from, v_vector, u, to, at.m_vector);
            t += 3 * third;
        }
    }
}

// The results of one tile and vector of channels, to the pixels [0, rows)×[0, columns) at `to`.
template <bool accumulate, class D, class Number>
HWY_INLINE void transform_back(D d, const float* m, std::int64_t m_point, hn::Vec<D> bias, float slope,
                               Number* to, std::int64_t row_floats, int block, int rows, int columns) {
    using V = hn::Vec<D>;
    V half[4][6];
    for (int j = 0; j < 6; ++j) {
        V x[6], y[4];
        for (int i = 0; i < 6; ++i) x[i] = hn::Load(d, m + (6 * i + j) * m_point);
        output_line(d, x, y);
        for (int i = 0; i < 4; ++i) half[i][j] = y[i];
    }
    const V factor = hn::Set(d, slope);
    const auto finish = [&](V value, Number* place) HWY_ATTR {
        value = hn::Add(value, bias);
        value = hn::IfThenElse(hn::Gt(value, hn::Zero(d)), value, hn::Mul(factor, value));
        write_out<accumulate>(d, value, place);
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

template <bool accumulate, class D, class Number>
HWY_INLINE void transform_channels_back(D d, const TilesTask& task, const FeatureView<Number>& y,
                                        const Layout<D>& at, int from, int to, const float* m) {
    constexpr int lanes = Layout<D>::lanes;
    const Features& f = task.y.shape;
    const std::int64_t row_floats = std::int64_t(f.w) * f.block;
    for (Stretches tiles(f, task.first, task.count, f.w); tiles.next();) {
        const std::int64_t corner = 4 * tiles.row * row_floats + std::int64_t(4 * tiles.column) * f.block;
        const int rows = std::min(4, f.h - 4 * tiles.row);
        for (int k = from; k < to; k += lanes) {
            Number* place = y.image(tiles.image) + k / f.block * f.h * row_floats + k % f.block + corner;
            const auto bias = task.bias ? hn::LoadU(d, task.bias + k) : hn::Zero(d);
            const float* source = m + (k - from) / lanes * at.m_vector + tiles.t * lanes;
            for (int s = 0; s < tiles.length; ++s, source += lanes, place += 4 * f.block)
                transform_back<accumulate>(d, source, at.m_point, bias, task.slope, place, row_floats,
                                           f.block, rows, std::min(4, f.w - 4 * (tiles.column + s)));
        }
    }
}

template <class D>
HWY_INLINE void convolve(D d, const TilesTask& task) {
    constexpr int lanes = Layout<D>::lanes, panel = Layout<D>::panel, vectors = panel_vectors<D>();
    const int inputs = task.x.shape.c;
    const Layout<D> at(inputs, task.capacity);
    winograd::TransformedTiles v = task.v;
    float* m = task.scratch;
    if (!v.data) {
        v = {m, at.v_step, at.v_point};
        m += points * at.v_point;
        for_element(task.x.shape.element, [&](auto number) HWY_ATTR {
            transform_tiles(d, as<decltype(number)>(task.x), task.first, task.count, 0, inputs, v);
        });
    }
    for (int from = task.from; from < task.to; from += task.together) {
        const int to = std::min(from + task.together, task.to);
        for (int point = 0; point < points; ++point)
            for (int k = from; k < to; k += panel) {
                const float* const u =
                    task.weight + (k - task.weight_from) / panel * at.u_panel + point * at.u_point;
                float* const result = m + (k - from) / lanes * at.m_vector + point * at.m_point;
                const float* const tiles = v.data + point * v.point;
                if (k + panel <= to) {
                    products_of_panel<vectors>(d, at, inputs, task.count, tiles, v.vector, u, result);
                } else {
                    products_of_panel<vectors / 2>(d, at, inputs, task.count, tiles, v.vector, u, result);
                }
            }
        for_element(task.y.shape.element, [&](auto number) HWY_ATTR {
            const auto y = as<decltype(number)>(task.y);
            if (task.accumulate) {
                transform_channels_back<true>(d, task, y, at, from, to, m);
            } else {
                transform_channels_back<false>(d, task, y, at, from, to, m);
            }
        });
    }
}

void convolve_tiles(const TilesTask& task) {
    for_block(std::min(task.x.shape.block, task.y.shape.block), [&](auto d) HWY_ATTR {
        if constexpr (hn::MaxLanes(d) > 1) convolve(d, task);
    });
}

// The 3×3 of one panel of outputs at L input channels, from where they begin: out×in×9, to [input][9][width].
template <int vectors, class D>
HWY_INLINE void gather_panel(D d, const float* weight, std::int64_t output_step, float* g) {
    constexpr int lanes = int(hn::MaxLanes(d)), width = lanes * vectors;
    for (int k = 0; k < width; k += lanes)
        for (int i = 0; i < 9 * lanes; i += lanes) {  // an output's inputs lie side by side
            hn::Vec<D> rows[lanes];
            for (int r = 0; r < lanes; ++r) rows[r] = hn::LoadU(d, weight + (k + r) * output_step + i);
            transpose(d, rows);
            for (int r = 0; r < lanes; ++r) hn::Store(rows[r], d, g + (i + r) * width + k);
        }
}

// The same from in×out×9, each 3×3 turned. Reads up to 7 floats past the panel's.
template <int vectors, class D>
HWY_INLINE void gather_turned(D d, const float* weight, float* g) {
    constexpr int lanes = int(hn::MaxLanes(d)), width = lanes * vectors;
    for (int k = 0; k < width; k += lanes)
        for (int i = 0; i < 9; i += lanes) {
            hn::Vec<D> rows[lanes];
            for (int r = 0; r < lanes; ++r) rows[r] = hn::LoadU(d, weight + (k + r) * 9 + i);
            transpose(d, rows);
            for (int r = 0; r < std::min(lanes, 9 - i); ++r)
                hn::Store(rows[r], d, g + (8 - i - r) * width + k);
        }
}

// One panel of outputs, `vectors` wide, at one input channel; g is [9][width].
template <int vectors, class D>
HWY_INLINE void transform_weight(D d, const float* g, float* to, std::int64_t u_point) {
    using V = hn::Vec<D>;
    constexpr int lanes = int(hn::MaxLanes(d)), width = lanes * vectors;
    for (int k = 0; k < vectors; ++k) {
        V half[3][6];
        for (int j = 0; j < 3; ++j) {
            V line[3];
            for (int i = 0; i < 3; ++i) line[i] = hn::Load(d, g + (3 * i + j) * width + k * lanes);
            weight_line(d, line, half[j]);
        }
        float* place = to + k * lanes;
        for (int i = 0; i < 6; ++i) {
            const V line[3] = {half[0][i], half[1][i], half[2][i]};
            V u[6];
            weight_line(d, line, u);
            for (int j = 0; j < 6; ++j, place += u_point) hn::Store(u[j], d, place);
        }
    }
}

// One panel, `vectors` wide, to `to`.
template <int vectors, class D>
HWY_INLINE void transform_panel(D d, const winograd::WeightTransform& t, float* to, std::int64_t u_point) {
    constexpr int lanes = int(hn::MaxLanes(d)), width = lanes * vectors;
    alignas(64) float g[lanes * 9 * width];
    const int k = t.panel * Layout<D>::panel;
    for (int c = t.from; c < t.to; c += lanes) {
        if (!t.transposed) {
            gather_panel<vectors>(d, t.weight + (std::int64_t(k) * t.inputs + c) * 9, 9 * t.inputs, g);
        } else {
            for (int lane = 0; lane < lanes; ++lane) {
                const float* from = t.weight + (std::int64_t(c + lane) * t.outputs + k) * 9;
                float last[9 * width + 7];
                if (c + lane + 1 == t.inputs && k + width == t.outputs) {  // behind it lies nothing
                    std::copy(from, from + 9 * width, last);
                    std::fill(last + 9 * width, last + 9 * width + 7, 0.0f);
                    from = last;
                }
                gather_turned<vectors>(d, from, g + lane * 9 * width);
            }
        }
        for (int lane = 0; lane < lanes; ++lane)
            transform_weight<vectors>(d, g + lane * 9 * width, to + (c + lane) * width, u_point);
    }
}

void transform_weights(const winograd::WeightTransform& t) {
    for_block(t.block, [&](auto d) HWY_ATTR {
        using D = decltype(d);
        if constexpr (hn::MaxLanes(d) > 1) {
            constexpr int vectors = panel_vectors<D>(), width = Layout<D>::panel;
            const Layout<D> at(t.inputs, 0);
            const int k = t.panel * width;
            float* const to = t.transformed + (k - t.first) / width * at.u_panel;
            if (k + width <= t.outputs) {
                transform_panel<vectors>(d, t, to, at.u_point);
            } else {
                transform_panel<vectors / 2>(d, t, to, at.u_point);
            }
        }
    });
}

void transform_input_tiles(ConstView x, int block, std::int64_t first, int count, int from, int to,
                           const winograd::TransformedTiles& v) {
    for_block(block, [&](auto d) HWY_ATTR {
        if constexpr (hn::MaxLanes(d) > 1)
            for_element(x.shape.element, [&](auto number) HWY_ATTR {
                transform_tiles(d, as<decltype(number)>(x), first, count, from, to, v);
            });
    });
}

int vector_lanes(int block) {
    int lanes = 0;
    for_block(block, [&](auto d) HWY_ATTR { lanes = Layout<decltype(d)>::lanes; });
    return lanes;
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(convolve_tiles);
HWY_EXPORT(transform_weights);
HWY_EXPORT(transform_input_tiles);
HWY_EXPORT(vector_lanes);
}  // namespace

namespace winograd {

int vector_lanes(int block) { return HWY_DYNAMIC_DISPATCH(vector_lanes)(block); }

int panel_width(int block) { return std::max(16, 2 * vector_lanes(block)); }

std::int64_t transformed_weight_floats(int inputs, int outputs, int block) {
    const int width = panel_width(block);
    return (outputs + width - 1) / width * points * (std::int64_t(inputs) * width + apart);
}

TransformedTiles TransformedTiles::by_point(float* data, int inputs, std::int64_t capacity, int block) {
    const std::int64_t vector = capacity * vector_lanes(block);
    return {data, vector, inputs / vector_lanes(block) * vector + apart};
}

TransformedTiles TransformedTiles::by_channel(float* data, std::int64_t capacity, int block) {
    const std::int64_t point = capacity * vector_lanes(block) + apart;
    return {data, points * point, point};
}

std::int64_t transformed_tiles_floats(int inputs, std::int64_t capacity) {
    return points * (inputs * capacity + (inputs + 3) / 4 * apart);
}

void transform_tiles(ConstView x, int block, std::int64_t first, int count, std::int64_t at, int from, int to,
                     const TransformedTiles& v) {
    HWY_DYNAMIC_DISPATCH(transform_input_tiles)
    (x, block, first, count, from, to, {v.data + at * vector_lanes(block), v.vector, v.point});
}

std::int64_t tiles_scratch_floats(int inputs, int together, int capacity, bool makes_v) {
    const std::int64_t results = points * (std::int64_t(together) * capacity + (together + 3) / 4 * apart);
    return results + (makes_v ? transformed_tiles_floats(inputs, capacity) : 0);
}

void transform_weights(const WeightTransform& task) { HWY_DYNAMIC_DISPATCH(transform_weights)(task); }

void convolve_tiles(const TilesTask& task) { HWY_DYNAMIC_DISPATCH(convolve_tiles)(task); }

}  // namespace winograd
}  // namespace tvmap::cpu
#endif
