// Checks of shapes, made once in each operation's public function.
#pragma once
#include <string>

#include "kernels/base/error.h"
#include "kernels/base/features.h"

namespace tvmap {

/// "2x32x128x128 in blocks of 16".
inline std::string shape_text(const Features& f) {
    return text(f.n, "x", f.c, "x", f.h, "x", f.w, " in blocks of ", f.block);
}

/// The same elements in the same order within an image; image strides may differ.
inline bool same_shape(const Features& a, const Features& b) {
    return a.n == b.n && a.c == b.c && a.h == b.h && a.w == b.w && a.block == b.block;
}

inline void require_shape(const char* operation, const char* name, const Features& actual,
                          const Features& expected) {
    if (!same_shape(actual, expected))
        fail(operation, ": ", name, " is ", shape_text(actual), ", it must be ", shape_text(expected));
}

/// CUDA tensors are planar.
inline void require_planar(const char* operation, const Features& shape) {
    if (shape.block != 1)
        fail(operation, ": a tensor is ", shape_text(shape), ", on CUDA it must be planar (blocks of 1)");
}

}  // namespace tvmap
