// The solver and its gradient in double, line by line as a tape would record and reverse them: what the study
// measures the gradients of the kernels against. One solve, a shared map or separate ones; slow and plain.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/solver/pdhg.h"

namespace tvmap {

/// Where the clip of each step bound: e = +1 above Λ, −1 below −Λ, 0 inside, for 2·H·W components (vertical,
/// then horizontal) of T steps. Two bits each, several in a byte: threads may read them together, not write.
class ClipDecisions {
  public:
    ClipDecisions(int iterations, std::int64_t components)
        : components_(components), codes_((std::size_t(iterations) * components + 3) / 4) {}

    int at(int step, std::int64_t component) const {
        const std::size_t i = std::size_t(step) * components_ + component;
        return (codes_[i / 4] >> (i % 4 * 2) & 3) - 1;
    }
    /// Once for each.
    void set(int step, std::int64_t component, int e) {
        const std::size_t i = std::size_t(step) * components_ + component;
        codes_[i / 4] = std::uint8_t(codes_[i / 4] | (e + 1) << (i % 4 * 2));
    }

  private:
    std::size_t components_;
    std::vector<std::uint8_t> codes_;
};

/// The decisions of T steps of one solve that a kernel recorded (on the host).
ClipDecisions unpack_decisions(const PdhgProblem& problem, int iterations, const std::uint8_t* masks);

/// T steps in double.
struct ExactRun {
    std::vector<double> x;
    ClipDecisions decisions;
};
ExactRun exact_run(const PdhgProblem& problem, int iterations, const float* z, const float* lambda);

/// ∂loss/∂Λ (map_size) from d_x = ∂loss/∂x_T along a run that decided so.
std::vector<double> exact_gradient(const PdhgProblem& problem, int iterations, const ClipDecisions& decisions,
                                   const std::vector<double>& d_x);

/// How far a gradient is from another one: ‖a − b‖ / ‖b‖, and the angle between them in degrees.
struct GradientError {
    double relative = 0, angle = 0;
};
GradientError gradient_error(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace tvmap
