// Shapes in words, and their checks, made once in each operation's public function.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/features.h"

namespace tvmap {

/// "2×32×128"; "a single number" for an array of none.
inline std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string line;
    for (const std::int64_t side : shape) line += text(line.empty() ? "" : "×", side);
    return line.empty() ? "a single number" : line;
}
/// "2×32×128×128".
inline std::string shape_text(const Features& f) { return text(f.n, "×", f.c, "×", f.h, "×", f.w); }
/// "2×32×128×128 in blocks of 16", and ", bf16" where it is that.
inline std::string layout_text(const Features& f) {
    return text(shape_text(f), " in blocks of ", f.block, f.element == Element::bf16 ? ", bf16" : "");
}

/// The same elements in the same order within an image; image strides may differ.
inline bool same_layout(const Features& a, const Features& b) {
    return a.same_shape(b) && a.block == b.block && a.element == b.element;
}

inline void require_shape(const char* operation, const char* name, const Features& actual,
                          const Features& expected) {
    if (!same_layout(actual, expected))
        fail(operation, ": ", name, " is ", layout_text(actual), ", it must be ", layout_text(expected));
}

/// For kernels that know floats alone.
inline void require_fp32(const char* operation, const Features& shape) {
    if (shape.element != Element::fp32)
        fail(operation, ": a tensor is ", layout_text(shape), ", it must be fp32");
}

/// CUDA tensors are planar.
inline void require_planar(const char* operation, const Features& shape) {
    if (shape.block != 1)
        fail(operation, ": a tensor is ", layout_text(shape), ", on CUDA it must be planar (blocks of 1)");
}

}  // namespace tvmap
