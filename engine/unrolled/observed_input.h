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

    /// Scratch memory of both functions below, which the solve reads, so that it must stay as long.
    std::size_t workspace_bytes() const { return b_bytes_ + data_bytes_; }

    /// Arrays in the backend's memory. z: N×data_size, images: N×H×W as observed, which is z but for super_resolution,
    /// where each value stands in all pixels of its block. weights: N×H×W for DataTerm::weights, else not used. lambda:
    /// as in SolverInput. Queued.
    SolverInput make(const float* z, const float* images, const float* weights, const float* lambda,
                     void* workspace) const;
    /// The same where z is not at hand: of super_resolution it is the means of the images' blocks.
    SolverInput make(const float* images, const float* weights, const float* lambda, void* workspace) const;

    /// d_z = A d_b (weights: W d_b), solve by solve: d_b solves×H×W, d_z solves×data_size. Queued.
    void data_gradient(const float* d_b, const float* weights, float* d_z) const;

    /// The part of it that an adjoint reads which does not recompute.
    const float* gram(const float* weights) const;

  private:
    Backend& backend_;
    SolverProblem problem_;
    DeviceArray<float> kernel_, gram_;
    std::size_t b_bytes_ = 0, data_bytes_ = 0;
};

}  // namespace tvmap
