// The family's solver (kernels/family/family.h) and its gradient in double, as engine/solver/exact_gradient.h has them for
// denoising by total variation: one solve, a shared map or separate ones; slow and plain.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/solver/exact_gradient.h"
#include "kernels/family/family.h"

namespace tvmap {

/// K as a matrix: u, fields×H×W, to components×H×W.
class ExactDifferences {
  public:
    explicit ExactDifferences(const SolverProblem& problem);

    /// q += factor·K u
    void add(double factor, const std::vector<double>& u, std::vector<double>& q) const;
    /// u += factor·Kᵀq
    void add_transposed(double factor, const std::vector<double>& q, std::vector<double>& u) const;

  private:
    struct Entry {
        std::int64_t row, column;
        double value;
    };
    std::vector<Entry> entries_;
};

/// For one problem. Does not change: threads may share it.
class ExactFamily {
  public:
    /// data, on the host: the weights, H×W, or the blur's kernel; not used for the other data terms. Throws Error for more
    /// than one solve and for a map of numbers.
    ExactFamily(const SolverProblem& problem, const float* data);

    /// z: H×W as observed; for super_resolution each value in all pixels of its block. lambda: map_size. The decisions are
    /// of the components in the order of q, then for DataTerm::huber of r.
    ExactRun run(int iterations, const float* z, const float* lambda) const;

    /// ∂loss/∂Λ (map_size) from d_x = ∂loss/∂x_T along a run that decided so.
    std::vector<double> gradient(int iterations, const ClipDecisions& decisions,
                                 const std::vector<double>& d_x) const;

    /// The decisions of T steps that a kernel recorded (on the host).
    ClipDecisions unpack(int iterations, const std::uint8_t* masks) const;

  private:
    using Plane = std::vector<double>;
    std::int64_t map_index(std::int64_t component) const;
    double multiplicity(std::int64_t component) const;
    Plane shifted_sum(const Plane& x, int sign) const;
    Plane observed_back(const float* z) const;
    Plane normal(const Plane& x) const;

    SolverProblem problem_;
    std::int64_t pixels_;
    std::vector<double> data_;
    ExactDifferences differences_;
};

}  // namespace tvmap
