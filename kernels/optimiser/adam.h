// One step of Adam (Kingma & Ba, 2015) on all parameters at once:
//     m = β1·m + (1−β1)·g      v = β2·v + (1−β2)·g²      w −= rate/(1−β1ᵗ) · m / (√v/√(1−β2ᵗ) + ε)
// in float with fused multiply-adds (what comes before and after it: kernels/optimiser/optimiser_step.h), the factors
// of the step worked out in double. Where the processor fuses (any but the baseline instruction set), w, m and v have
// the same bits on every device.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/base/host_device.h"
#include "kernels/base/stream.h"

namespace tvmap {

/// In double, since 1 − β2 in float would be off by 5e-5.
struct Adam {
    double rate = 1e-4, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    std::int64_t step = 1;    ///< t, counted from 1
    double weight_decay = 0;  ///< see decay_weights
    double ema = 0;           ///< see average_weights
};

/// The factors of one step. Made on the host for every device: libraries differ in their powers.
struct AdamStep {
    float decay1, gain1;  ///< β1, 1−β1
    float decay2, gain2;  ///< β2, 1−β2
    float eps;
    float rate;       ///< rate/(1−β1ᵗ)
    float root_gain;  ///< 1/√(1−β2ᵗ)
    float keep;       ///< 1 − rate·weight_decay
    float follow;     ///< 1 − min(ema, (1+t)/(10+t))

    explicit AdamStep(const Adam& a)
        : decay1(float(a.beta1)),
          gain1(float(1 - a.beta1)),
          decay2(float(a.beta2)),
          gain2(float(1 - a.beta2)),
          eps(float(a.eps)),
          rate(float(a.rate / (1 - std::pow(a.beta1, double(a.step))))),
          root_gain(float(1 / std::sqrt(1 - std::pow(a.beta2, double(a.step))))),
          keep(float(1 - a.rate * a.weight_decay)),
          follow(float(1 - std::min(a.ema, (1 + double(a.step)) / (10 + double(a.step))))) {}
};

/// Where a kernel finds the factors of its step: given with the call, or those that a schedule has for its next step,
/// read when the kernel is carried out.
class StepFactors {
  public:
    explicit StepFactors(const AdamStep& step) : given_(step) {}
    /// The one of `steps` that `counter` names, both in the backend's memory.
    StepFactors(const AdamStep* steps, const std::uint32_t* counter)
        : given_(Adam{}), steps_(steps), counter_(counter) {}

    TVMAP_HOST_DEVICE const AdamStep& now() const { return steps_ ? steps_[*counter_] : given_; }

  private:
    AdamStep given_;
    const AdamStep* steps_ = nullptr;
    const std::uint32_t* counter_ = nullptr;
};

namespace cpu {

/// w, gradient, m, v: count floats each. Updates w, m and v in place.
void adam_step(const AdamStep& step, std::int64_t count, float* w, const float* gradient, float* m, float* v);
void adam_step(const Adam& adam, std::int64_t count, float* w, const float* gradient, float* m, float* v);

}  // namespace cpu
namespace cuda {

/// The same.
void adam_step(gpu::Stream stream, const Adam& adam, std::int64_t count, float* w, const float* gradient,
               float* m, float* v);
/// With the one of `steps` that `counter` names, both in the device's memory, when it is carried out.
void adam_step(gpu::Stream stream, const AdamStep* steps, const std::uint32_t* counter, std::int64_t count,
               float* w, const float* gradient, float* m, float* v);

}  // namespace cuda
}  // namespace tvmap
