// One step of Adam (Kingma & Ba, 2015) on all parameters at once:
//     m = β1·m + (1−β1)·g      v = β2·v + (1−β2)·g²      w −= rate/(1−β1ᵗ) · m / (√v/√(1−β2ᵗ) + ε)
#pragma once
#include <cstdint>

namespace tvmap {

/// In double, since 1 − β2 in float would be off by 5e-5.
struct Adam {
    double rate = 1e-4, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    std::int64_t step = 1;  ///< t, counted from 1
};

namespace cpu {

/// w, gradient, m, v: count floats each. Updates w, m and v in place.
void adam_step(const Adam& adam, std::int64_t count, float* w, const float* gradient, float* m, float* v);

}  // namespace cpu
}  // namespace tvmap
