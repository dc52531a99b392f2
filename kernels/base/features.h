// The shape of a batch of feature maps, and how it lies in memory. One alphabet everywhere: N images, C channels, D
// slices, H rows, W columns.
#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/base/element.h"

namespace tvmap {

/// Whether a result replaces what its buffer holds or is added to it.
enum class Write { overwrite, accumulate };

/// N×C×D×H×W; a picture has D = 1, and in words the D is left out. (No layer works on more slices yet.)
struct Shape {
    int n = 0, c = 0, d = 1, h = 0, w = 0;

    /// Of one image, and of the whole batch.
    std::int64_t image_size() const { return std::int64_t(c) * d * h * w; }
    std::int64_t size() const { return n * image_size(); }

    bool operator==(const Shape&) const = default;
};

/// A shape of numbers with its layout. Channels are stored in blocks of `block` neighbours per pixel,
///     element (n, c, i, j) at  n·image_stride + ((c / block)·H·W + i·W + j)·block + c mod block,
/// so block = 1 is plain NCHW (called planar) and block = 8 or 16 is oneDNN's nChw8c / nChw16c. C is a
/// multiple of block. A slice of channels of a wider tensor has the wider tensor's image_stride; each of its
/// images is contiguous. Tensors of bf16 lie in blocks, on the CPU.
struct Features : Shape {
    int block = 1;
    std::int64_t image_stride = 0;  ///< numbers from one image to the next
    Element element = Element::fp32;

    /// Blocks of channels in one image; each is a plane of H·W pixels of `block` floats.
    int planes() const { return c / block; }
    bool dense() const { return n <= 1 || image_stride == image_size(); }

    /// Of the same shape, wherever they lie? Of the same layout too: same_layout (kernels/base/shapes.h).
    bool same_shape(const Features& other) const { return Shape(*this) == Shape(other); }
    bool operator==(const Features&) const = delete;
};

/// A dense N×C×H×W batch.
inline Features dense_features(int n, int c, int h, int w, int block, Element element = Element::fp32) {
    return {{n, c, 1, h, w}, block, std::int64_t(c) * h * w, element};
}

/// Features and where they lie. T is float, Bfloat16 or one of them const. Data is aligned to 64 bytes.
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

/// The view of a tensor that may be of either element as what it is: T is what shape.element says. The float* of a
/// tensor of bf16, here and wherever one is handed on, is a place alone, to be used through this.
template <class T>
FeatureView<T> as(const View& view) {
    return {reinterpret_cast<T*>(view.data), view.shape};
}
template <class T>
FeatureView<const T> as(const ConstView& view) {
    return {reinterpret_cast<const T*>(view.data), view.shape};
}

/// The place so many bytes further on, for tensors of either element.
template <class T>
T* at_byte(T* place, std::int64_t bytes) {
    using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
    return reinterpret_cast<T*>(reinterpret_cast<Byte*>(place) + bytes);
}

}  // namespace tvmap
