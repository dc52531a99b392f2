// A thread takes two neighbouring windows, in vector accesses, where widths and addresses allow it (`wide`),
// else one. The gradient also visits the windows that an odd last row or column cuts off, to write zeros.
#include "kernels/layers/max_pool.h"

#include "kernels/gpu/planar.h"

namespace tvmap::cuda {
namespace {

template <bool wide>
constexpr int windows = wide ? 2 : 1;

/// One float for each of a thread's windows.
template <bool wide>
__device__ inline Quad load_windows(const float* p) {
    if constexpr (wide) {
        const float2 pair = *reinterpret_cast<const float2*>(p);
        return {{pair.x, pair.y}};
    } else {
        return {{*p}};
    }
}

struct Maximum {
    float value;
    int place;
};

/// Over the window at column `left` of two rows, the first row by row. A NaN takes over, and stays.
__device__ inline Maximum window_maximum(const Quad& upper, const Quad& lower, int left) {
    Maximum maximum{upper.v[left], 0};
    const auto visit = [&](float v, int place) {
        if (v > maximum.value || v != v) maximum = {v, place};
    };
    visit(upper.v[left + 1], 1);
    visit(lower.v[left], 2);
    visit(lower.v[left + 1], 3);
    return maximum;
}

template <bool wide>
__global__ void max_pool_forward_kernel(Planes planes, int height, int width, Images<const float> x,
                                        Images<float> y) {
    const PlanePlace place(planes);
    if (!place.exists) return;
    const int i = place.row, j = windows<wide> * place.column;
    const float* pixels = x[blockIdx.y] + (place.plane * height + 2 * i) * width + 2 * j;
    const Quad upper = load_quad<wide>(pixels, 2), lower = load_quad<wide>(pixels + width, 2);
    float* out = y[blockIdx.y] + (place.plane * (height / 2) + i) * (width / 2) + j;
    if constexpr (wide)
        *reinterpret_cast<float2*>(out) =
            make_float2(window_maximum(upper, lower, 0).value, window_maximum(upper, lower, 2).value);
    else
        *out = window_maximum(upper, lower, 0).value;
}

template <bool wide>
__global__ void max_pool_backward_kernel(Planes planes, int height, int width, Images<const float> x,
                                         Images<const float> d_y, Images<float> d_x, bool accumulate) {
    const PlanePlace place(planes);
    if (!place.exists) return;
    const int i = place.row, j = windows<wide> * place.column;
    const int rows = min(2, height - 2 * i), columns = min(2 * windows<wide>, width - 2 * j);
    const std::int64_t at = (place.plane * height + 2 * i) * width + 2 * j;
    Quad gradient[2] = {};
    if (rows == 2 && columns == 2 * windows<wide>) {
        const float* pixels = x[blockIdx.y] + at;
        const Quad upper = load_quad<wide>(pixels, 2), lower = load_quad<wide>(pixels + width, 2);
        const float* of_windows = d_y[blockIdx.y] + (place.plane * (height / 2) + i) * (width / 2) + j;
        const Quad g = load_windows<wide>(of_windows);
        for (int k = 0; k < windows<wide>; ++k) {
            const int winner = window_maximum(upper, lower, 2 * k).place;
            for (int corner = 0; corner < 4; ++corner)
                gradient[corner / 2].v[2 * k + corner % 2] = corner == winner ? g.v[k] : 0.0f;
        }
    } else if (accumulate) {
        return;
    }
    for (int a = 0; a < rows; ++a) {
        float* out = d_x[blockIdx.y] + at + std::int64_t(a) * width;
        if (accumulate) {
            const Quad old = load_quad<wide>(out, columns);
            for (int b = 0; b < 4; ++b) gradient[a].v[b] += old.v[b];
        }
        store_quad<wide>(out, gradient[a], columns);
    }
}

}  // namespace

void max_pool_forward(gpu::Stream stream, ConstView x, View y) {
    require_planar("max_pool", x.shape);
    require_shape("max_pool", "y", y.shape, max_pool_shape(x.shape));
    const int height = x.shape.h, width = x.shape.w;
    const bool wide = wide_access(4, width, x) && wide_access(2, y.shape.w, y);
    const Planes planes{x.shape.c, y.shape.h, wide ? y.shape.w / 2 : y.shape.w};
    gpu::launch(stream, plane_launch("max_pool_forward_kernel", planes, x.shape.n),
                wide ? max_pool_forward_kernel<true> : max_pool_forward_kernel<false>, planes, height, width,
                x, y);
}

void max_pool_backward(gpu::Stream stream, ConstView x, ConstView d_y, View d_x, Write write) {
    require_planar("max_pool backward", x.shape);
    require_shape("max_pool backward", "d_y", d_y.shape, max_pool_shape(x.shape));
    require_shape("max_pool backward", "d_x", d_x.shape, x.shape);
    const int height = x.shape.h, width = x.shape.w;
    const bool wide = wide_access(4, width, x, d_x) && wide_access(2, d_y.shape.w, d_y);
    const Planes planes{x.shape.c, (height + 1) / 2, wide ? width / 4 : (width + 1) / 2};
    gpu::launch(stream, plane_launch("max_pool_backward_kernel", planes, x.shape.n),
                wide ? max_pool_backward_kernel<true> : max_pool_backward_kernel<false>, planes, height,
                width, x, d_y, d_x, write == Write::accumulate);
}

}  // namespace tvmap::cuda
