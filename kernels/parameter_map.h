// From the network's raw output r to the regularisation map Λ > 0:
//     up_bound = 0:  Λ = scale·softplus(r),   softplus(r) = log(1 + exp r), computed without overflow
//     up_bound > 0:  Λ = up_bound·sigmoid(r)
// A shared map takes channel 0 alone; further channels of r get a zero gradient.
#pragma once
#include "kernels/features.h"

namespace tvmap {

struct ParameterMap {
    float scale = 0.1f;
    float up_bound = 0.0f;
};

namespace cpu {

/// raw: N×C×H×W planar, lambda: N×M×H×W planar with M ≤ C; channel m of lambda comes from channel m of raw.
void parameter_map_forward(const ParameterMap& map, ConstView raw, View lambda);

/// d_raw = d_lambda·∂Λ/∂r, zero for the channels that lambda does not have (accumulate leaves those as they
/// are).
void parameter_map_backward(const ParameterMap& map, ConstView raw, ConstView d_lambda, View d_raw,
                            Write write);

}  // namespace cpu
}  // namespace tvmap
