// What an optimiser's step does around Adam (kernels/optimiser/adam.h), on all parameters at once, in this order:
//     mean_gradient     g = (sum + g) / batches, sum = 0     where a step takes several batches
//     clip_gradient     g = g · largest / ‖g‖ where ‖g‖ > largest         (Pascanu, Mikolov & Bengio, ICML 2013)
//     decay_weights     w = (1 − rate·weight_decay) · w      decoupled from the gradient (Loshchilov & Hutter, ICLR
//                                                            2019; the step's rate times the decay, as PyTorch has it)
//     adam_step
//     average_weights   a = a + (1 − d)·(w − a),  d = min(ema, (1+t)/(10+t)) in step t, from 1
// The average begins at the initial weights; for its first steps d is small, or it would hold on to them for long.
// All in float, a multiply-add fused; the factors are worked out in double. Where the processor fuses (any but the
// baseline instruction set), results have the same bits on every device and for any number of threads.
#pragma once
#include <cstdint>

#include "kernels/base/kernel.h"
#include "kernels/base/stream.h"
#include "kernels/optimiser/adam.h"

namespace tvmap {

/// Neighbours in an array.
struct Span {
    std::int64_t first = 0, count = 0;
};

/// Spans in the backend's memory, and on the host the largest count among them.
struct Spans {
    const Span* list = nullptr;
    int count = 0;
    std::int64_t largest = 0;
};

namespace cpu {

/// sum, gradient: count floats each.
void mean_gradient(std::int64_t count, int batches, float* sum, float* gradient);

/// *squared_norm: ‖g‖², in the backend's memory. A norm that is not a number changes nothing.
void clip_gradient(std::int64_t count, double largest, const double* squared_norm, float* gradient);

/// The weights of these spans of w.
void decay_weights(StepFactors factors, Spans spans, float* w);

/// w, average: count floats each.
void average_weights(StepFactors factors, std::int64_t count, const float* w, float* average);

}  // namespace cpu

namespace cuda {

/// The same bits as the CPU's. Pointers need no alignment.
void mean_gradient(gpu::Stream stream, std::int64_t count, int batches, float* sum, float* gradient);
void clip_gradient(gpu::Stream stream, std::int64_t count, double largest, const double* squared_norm,
                   float* gradient);
void decay_weights(gpu::Stream stream, StepFactors factors, Spans spans, float* w);
void average_weights(gpu::Stream stream, StepFactors factors, std::int64_t count, const float* w,
                     float* average);

}  // namespace cuda

inline constexpr Kernel mean_gradient{"mean_gradient", cpu::mean_gradient};
inline constexpr Kernel clip_gradient{"clip_gradient", cpu::clip_gradient};
inline constexpr Kernel decay_weights{"decay_weights", cpu::decay_weights};
inline constexpr Kernel average_weights{"average_weights", cpu::average_weights};

}  // namespace tvmap
