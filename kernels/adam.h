// One step of Adam (Kingma & Ba, 2015) on all parameters at once:
//     m = β1·m + (1−β1)·g      v = β2·v + (1−β2)·g²      w −= rate/(1−β1ᵗ) · m / (√v/√(1−β2ᵗ) + ε)
#pragma once
#include <cstdint>

namespace tvmap {

struct Adam {
    float rate = 1e-4f, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
    std::int64_t step = 1;  ///< t, counted from 1
};

namespace cpu {

/// w, gradient, m, v: count floats each. Updates w, m and v in place.
void adam_step(const Adam& adam, std::int64_t count, float* w, const float* gradient, float* m, float* v);

}  // namespace cpu
}  // namespace tvmap
