// The data terms' operators at one pixel, said once for the CPU, the GPU and its emulation: the map from data to image,
// Aᴴ (W for weights), its adjoint, and N = AᴴA. T is what is computed in, E what is
// read. Not for users.
#pragma once
#include <cstdint>

#include "kernels/base/host_device.h"
#include "kernels/family/family.h"

namespace tvmap::family {

/// What the operators depend on. taps: rows×columns, the blur's kernel or its autocorrelation.
struct DataOperator {
    DataTerm data = DataTerm::identity;
    int height = 0, width = 0, solves_per_image = 1;
    int rows = 1, columns = 1, factor = 1;
    double scale = 1;               ///< 1/factor²; of N its square
    const float* values = nullptr;  ///< weights, images×H×W, or taps

    TVMAP_HOST_DEVICE std::int64_t pixels() const { return std::int64_t(height) * width; }
    TVMAP_HOST_DEVICE std::int64_t data_size() const { return pixels() / (std::int64_t(factor) * factor); }
    /// Of a solve's image.
    TVMAP_HOST_DEVICE const float* weights(std::int64_t image) const { return values + image * pixels(); }
};

/// A and Aᴴ by their kernel or weights, and N by what the loop has of it.
inline DataOperator data_operator(const SolverProblem& s, const float* values) {
    const double scale = 1 / (double(s.factor) * s.factor);
    return {s.data,   s.height, s.width, s.solves_per_image, s.kernel_height, s.kernel_width,
            s.factor, scale,    values};
}
inline DataOperator gram_operator(const SolverProblem& s, const float* gram) {
    DataOperator n = data_operator(s, gram);
    n.rows = 2 * s.kernel_height - 1;
    n.columns = 2 * s.kernel_width - 1;
    n.scale *= n.scale;
    return n;
}

TVMAP_HOST_DEVICE inline int wrapped(int i, int size) { return i < 0 ? i + size : i < size ? i : i - size; }

/// Σ taps[a, b]·f[i + sign·(a − rows/2), j + sign·(b − columns/2)] around the image: sign −1 convolves, +1 correlates.
template <class T, class E>
TVMAP_HOST_DEVICE inline T circular_sum(const DataOperator& o, int sign, const E* f, int i, int j) {
    T sum = 0;
    for (int a = 0; a < o.rows; ++a) {
        const E* row = f + std::int64_t(wrapped(i + sign * (a - o.rows / 2), o.height)) * o.width;
        for (int b = 0; b < o.columns; ++b)
            sum += T(o.values[a * o.columns + b]) * T(row[wrapped(j + sign * (b - o.columns / 2), o.width)]);
    }
    return sum;
}

/// Σ f over the block of pixels that begins at (i, j).
template <class T, class E>
TVMAP_HOST_DEVICE inline T block_total(const DataOperator& o, const E* f, int i, int j) {
    T sum = 0;
    for (int a = 0; a < o.factor; ++a)
        for (int b = 0; b < o.factor; ++b) sum += T(f[std::int64_t(i + a) * o.width + (j + b)]);
    return sum;
}

/// (Aᴴz)[i, j]; weights: (W z)[i, j]. weights: of the image.
template <class T, class E>
TVMAP_HOST_DEVICE inline T image_at(const DataOperator& o, const float* weights, const E* z, int i, int j) {
    const std::int64_t here = std::int64_t(i) * o.width + j;
    const int s = o.factor;
    switch (o.data) {
        case DataTerm::identity:
        case DataTerm::huber:
            return T(z[here]);
        case DataTerm::weights:
            return T(weights[here]) * T(z[here]);
        case DataTerm::blur:
            return circular_sum<T>(o, 1, z, i, j);
        case DataTerm::super_resolution:
            return T(z[std::int64_t(i / s) * (o.width / s) + j / s]) * T(o.scale);
    }
    return T(0);
}

/// (A x)[i, j] with i, j in the data's grid; weights: (W x)[i, j].
template <class T, class E>
TVMAP_HOST_DEVICE inline T data_at(const DataOperator& o, const float* weights, const E* x, int i, int j) {
    const std::int64_t here = std::int64_t(i) * o.width + j;
    const int s = o.factor;
    switch (o.data) {
        case DataTerm::identity:
        case DataTerm::huber:
            return T(x[here]);
        case DataTerm::weights:
            return T(weights[here]) * T(x[here]);
        case DataTerm::blur:
            return circular_sum<T>(o, -1, x, i, j);
        case DataTerm::super_resolution:
            return block_total<T>(o, x, i * s, j * s) * T(o.scale);
    }
    return T(0);
}

/// (N x)[i, j], for a gram_operator().
template <class T, class E>
TVMAP_HOST_DEVICE inline T gram_at(const DataOperator& n, const float* weights, const E* x, int i, int j) {
    const int s = n.factor;
    if (n.data != DataTerm::super_resolution) return image_at<T>(n, weights, x, i, j);
    return block_total<T>(n, x, i / s * s, j / s * s) * T(n.scale);
}

}  // namespace tvmap::family
