// How a batch of feature maps lies in memory. One alphabet everywhere: N images, C channels, H rows, W
// columns.
#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace tvmap {

/// Whether a result replaces what its buffer holds or is added to it.
enum class Write { overwrite, accumulate };

/// N×C×H×W floats. Channels are stored in blocks of `block` neighbours per pixel,
///     element (n, c, i, j) at  n·image_stride + ((c / block)·H·W + i·W + j)·block + c mod block,
/// so block = 1 is plain NCHW (called planar) and block = 8 or 16 is oneDNN's nChw8c / nChw16c. C is a
/// multiple of block. A slice of channels of a wider tensor has the wider tensor's image_stride; each of its
/// images is contiguous.
struct Features {
    int n = 0, c = 0, h = 0, w = 0;
    int block = 1;
    std::int64_t image_stride = 0;  ///< floats from one image to the next

    /// Floats of one image.
    std::int64_t image_size() const { return std::int64_t(c) * h * w; }
    /// Floats of the whole batch when dense.
    std::int64_t size() const { return n * image_size(); }
    /// Blocks of channels in one image; each is a plane of H·W pixels of `block` floats.
    int planes() const { return c / block; }
    bool dense() const { return n <= 1 || image_stride == image_size(); }
};

/// A dense N×C×H×W batch.
inline Features dense_features(int n, int c, int h, int w, int block) {
    return {n, c, h, w, block, std::int64_t(c) * h * w};
}

/// Features and where they lie. T is float or const float. Data is aligned to 64 bytes.
template <class T>
struct FeatureView {
    T* data = nullptr;
    Features shape;

    T* image(int n) const { return data + n * shape.image_stride; }
    /// The same, to be read only.
    template <std::same_as<const T> Const>
    operator FeatureView<Const>() const {
        return {data, shape};
    }
};
using View = FeatureView<float>;
using ConstView = FeatureView<const float>;

}  // namespace tvmap
