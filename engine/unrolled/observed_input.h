// What a solve of the family reads (SolverInput), from an image as it was observed: b = Aᴴz, the start, and N.
#pragma once
#include <cstddef>
#include <vector>

#include "kernels/backend.h"
#include "kernels/device_array.h"

namespace tvmap {

/// For one problem on one backend, which must outlive it. For one thread at a time.
class ObservedInput {
  public:
    /// kernel: of a blur, kernel_height×kernel_width, on the host; else empty.
    ObservedInput(Backend& backend, const SolverProblem& problem, const std::vector<float>& kernel);

    /// Scratch memory of make(), which the solve reads, so that it must stay as long.
    std::size_t workspace_bytes() const { return b_bytes_ + data_bytes_; }

    /// Arrays in the backend's memory. images: N×H×W as observed; for super_resolution each value stands in all pixels of
    /// its block. weights: N×H×W for DataTerm::weights, else not used. lambda: as in SolverInput. Queued.
    SolverInput make(const float* images, const float* weights, const float* lambda, void* workspace) const;

    /// The part of it that an adjoint reads which does not recompute.
    const float* gram(const float* weights) const;

  private:
    Backend& backend_;
    SolverProblem problem_;
    DeviceArray<float> kernel_, gram_;
    std::size_t b_bytes_ = 0, data_bytes_ = 0;
};

}  // namespace tvmap
