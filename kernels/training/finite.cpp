#include "kernels/training/finite.h"

#include <algorithm>
#include <cmath>

namespace tvmap::cpu {

void find_not_finite(const float* x, std::int64_t count, std::uint32_t* found) {
    if (!std::all_of(x, x + count, [](float value) { return std::isfinite(value); })) *found = 1;
}

}  // namespace tvmap::cpu
