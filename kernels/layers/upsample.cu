// With aligned corners the output rows 2k−1 and 2k both lie between the input rows k−1 and k, in gap k, at
// the fractions
//     (H−k)/(2H−1)  and  (2H−1−k)/(2H−1)                    k = 0 … H
// where the outermost gaps have the same row on either side; columns likewise. Forward, a thread takes four
// neighbouring columns of the two output rows in a gap; gap k of a window is gap r+k of the whole.
// Seen from input row i the backward pass is four taps, from the output rows 2i−1 … 2i+2 with the weights
//     (H−i), (2H−1−i), (H+i), (i+1)   over 2H−1             (rows outside of the output count as zero)
// A thread takes 2×2 input pixels, which share the middle of 6×6 output pixels. The weights are summed with
// as whole numbers; the divisors come last.
#include "kernels/layers/upsample.h"

#include "kernels/gpu/planar.h"

namespace tvmap::cuda {
namespace {

/// The fractions of the two output places in gap k of `size` input places.
__device__ inline float first_fraction(int k, int size) { return float(size - k) / float(2 * size - 1); }
__device__ inline float second_fraction(int k, int size) {
    return float(2 * size - 1 - k) / float(2 * size - 1);
}

__device__ inline float between(float fraction, float a, float b) { return __fmaf_rn(fraction, b - a, a); }

/// What the window of image blockIdx.y is of: where it begins, and the size of the whole. Without windows the
/// image is the whole.
struct Whole {
    int row = 0, column = 0, height, width;

    __device__ Whole(const Images<const float>& windows, float scale, int h, int w) : height(h), width(w) {
        if (windows.data == nullptr) return;
        const float* window = windows[blockIdx.y];
        row = int(scale * window[0]);
        column = int(scale * window[1]);
        height = int(scale * window[2]);
        width = int(scale * window[3]);
    }
};

/// Output columns 4m … 4m+3 lie in the gaps 2m, 2m+1, 2m+1, 2m+2, so between input columns 2m−1 … 2m+2.
template <bool wide>
__global__ void upsample_forward_kernel(Planes planes, int height, int width, Images<const float> x,
                                        Images<float> y, Images<const float> windows, float scale) {
    const PlanePlace place(planes);
    if (!place.exists) return;
    const Whole whole(windows, scale, height, width);
    const int gap = place.row, left = 2 * place.column;
    const float* plane = x[blockIdx.y] + place.plane * height * width;
    const float* above = plane + std::int64_t(max(gap - 1, 0)) * width;
    const float* below = plane + std::int64_t(min(gap, height - 1)) * width;
    const float first = first_fraction(whole.row + gap, whole.height),
                second = second_fraction(whole.row + gap, whole.height);
    float upper[4], lower[4];  // the two output rows at the four input columns
    for (int k = 0; k < 4; ++k) {
        const int j = min(max(left - 1 + k, 0), width - 1);
        upper[k] = between(first, above[j], below[j]);
        lower[k] = between(second, above[j], below[j]);
    }
    const int k = whole.column + left;  // the first of the three gaps
    const float fraction[4] = {second_fraction(k, whole.width), first_fraction(k + 1, whole.width),
                               second_fraction(k + 1, whole.width), first_fraction(k + 2, whole.width)};
    const auto columns = [&](const float* v) {
        return Quad{{between(fraction[0], v[0], v[1]), between(fraction[1], v[1], v[2]),
                     between(fraction[2], v[1], v[2]), between(fraction[3], v[2], v[3])}};
    };
    const int count = min(4, 2 * width - 2 * left);
    float* out = y[blockIdx.y] + (place.plane * 2 * height + 2 * gap) * 2 * width + 2 * left;
    if (gap > 0) store_quad<wide>(out - 2 * width, columns(upper), count);
    if (gap < height) store_quad<wide>(out, columns(lower), count);
}

/// What place i of `size` gathers from the places 2i−1 … 2i+2, times 2·size−1.
__device__ inline float gather(const float* v, int i, int size) {
    float sum = float(size - i) * v[0];
    sum = __fmaf_rn(float(2 * size - 1 - i), v[1], sum);
    sum = __fmaf_rn(float(size + i), v[2], sum);
    return __fmaf_rn(float(i + 1), v[3], sum);
}

/// Two neighbours, or the first alone.
template <bool wide>
__device__ inline void write_pair(float* out, float first, float second, bool both, bool accumulate) {
    if constexpr (wide) {
        float2* pair = reinterpret_cast<float2*>(out);
        const float2 old = accumulate ? *pair : make_float2(0.0f, 0.0f);
        *pair = make_float2(first + old.x, second + old.y);
    } else {
        out[0] = first + (accumulate ? out[0] : 0.0f);
        if (both) out[1] = second + (accumulate ? out[1] : 0.0f);
    }
}

template <bool wide>
__global__ void upsample_backward_kernel(Planes planes, int height, int width, Images<const float> d_y,
                                         Images<float> d_x, float scale, bool accumulate) {
    const PlanePlace place(planes);
    if (!place.exists) return;
    const int i = 2 * place.row, j = 2 * place.column;
    const float* plane = d_y[blockIdx.y] + place.plane * 4 * height * width;
    float left[6], right[6];  // the sums over columns in the six rows
    for (int a = 0; a < 6; ++a) {
        const int row = 2 * i - 1 + a;
        left[a] = right[a] = 0.0f;
        if (row < 0 || row >= 2 * height) continue;
        const float* middle = plane + std::int64_t(row) * 2 * width + 2 * j;
        const Quad quad = load_quad<wide>(middle, min(4, 2 * width - 2 * j));
        const float v[6] = {j > 0 ? middle[-1] : 0.0f,       quad.v[0], quad.v[1], quad.v[2], quad.v[3],
                            j + 2 < width ? middle[4] : 0.0f};
        left[a] = gather(v, j, width);
        right[a] = gather(v + 2, j + 1, width);
    }
    for (int a = 0; a < 2; ++a)
        if (i + a < height) {
            float* out = d_x[blockIdx.y] + (place.plane * height + i + a) * width + j;
            write_pair<wide>(out, scale * gather(left + 2 * a, i + a, height),
                             scale * gather(right + 2 * a, i + a, height), j + 1 < width, accumulate);
        }
}

void forward(gpu::Stream stream, ConstView x, ConstView windows, float scale, View y) {
    require_planar("upsample", x.shape);
    require_shape("upsample", "y", y.shape, upsample_shape(x.shape));
    const int c = x.shape.c, h = x.shape.h, w = x.shape.w;
    const Planes planes{c, h + 1, (w + 1) / 2};
    gpu::launch(stream, plane_launch("upsample_forward_kernel", planes, x.shape.n),
                wide_access(4, 2 * w, y) ? upsample_forward_kernel<true> : upsample_forward_kernel<false>,
                planes, h, w, x, y, windows, scale);
}

}  // namespace

void upsample_forward(gpu::Stream stream, ConstView x, View y) { forward(stream, x, {}, 1.0f, y); }

void upsample_window_forward(gpu::Stream stream, ConstView x, ConstView window, float scale, View y) {
    require_shape("upsample of a window", "window", window.shape, window_shape(x.shape.n));
    forward(stream, x, window, scale, y);
}

void upsample_backward(gpu::Stream stream, ConstView d_y, View d_x, Write write) {
    require_planar("upsample backward", d_x.shape);
    require_shape("upsample backward", "d_y", d_y.shape, upsample_shape(d_x.shape));
    const int c = d_x.shape.c, h = d_x.shape.h, w = d_x.shape.w;
    const Planes planes{c, (h + 1) / 2, (w + 1) / 2};
    const bool wide = wide_access(4, 2 * w, d_y) && wide_access(2, w, d_x);
    const float scale = float(1 / ((2.0 * h - 1) * (2.0 * w - 1)));
    gpu::launch(stream, plane_launch("upsample_backward_kernel", planes, d_x.shape.n),
                wide ? upsample_backward_kernel<true> : upsample_backward_kernel<false>, planes, h, w, d_y,
                d_x, scale, write == Write::accumulate);
}

}  // namespace tvmap::cuda
