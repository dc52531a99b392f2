#include "kernels/optimiser/average.h"

namespace tvmap::cpu {

void average(std::int64_t count, int arrays, std::int64_t stride, float* first) {
    const float share = 1.0f / float(arrays);
    for (int k = 1; k < arrays; ++k) {
        const float* next = first + k * stride;
        const float factor = k + 1 == arrays ? share : 1.0f;
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) first[i] = (first[i] + next[i]) * factor;
    }
}

}  // namespace tvmap::cpu
