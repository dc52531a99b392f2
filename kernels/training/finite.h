// Whether values are finite numbers: what is neither infinite nor NaN.
#pragma once
#include <cstdint>

#include "kernels/base/stream.h"

namespace tvmap {
namespace cpu {

/// Sets *found to 1 if one of `count` values of x is not finite; else *found stays as it is.
void find_not_finite(const float* x, std::int64_t count, std::uint32_t* found);

}  // namespace cpu
namespace cuda {

/// The same. x needs no alignment.
void find_not_finite(gpu::Stream stream, const float* x, std::int64_t count, std::uint32_t* found);

}  // namespace cuda
}  // namespace tvmap
