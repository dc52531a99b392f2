// The choice of the way to compute one pass of a CUDA convolution: by timing, or by its name. Private to
// kernels/convolution*.cu.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "kernels/base/bump_allocator.h"
#include "kernels/convolution/convolution_passes.h"
#include "kernels/gpu/gpu_runtime.h"

namespace tvmap::cuda {

/// Device memory of a workspace, handed out in parts aligned to 256 bytes; a workspace itself is aligned to
/// 64.
class WorkspaceLayout {
  public:
    static constexpr std::size_t alignment = 256;

    /// Where the next part begins, from base().
    std::size_t take(std::size_t bytes) { return parts_.reserve(bytes); }
    /// What the workspace has to hold.
    std::size_t bytes() const {
        return parts_.bytes() == 0 ? 0 : parts_.bytes() + alignment - piece_alignment;
    }

    static std::byte* base(void* workspace) {
        const auto address = reinterpret_cast<std::uintptr_t>(workspace);
        return static_cast<std::byte*>(workspace) + (alignment - address % alignment) % alignment;
    }

  private:
    BumpAllocator parts_{nullptr, alignment};
};

/// A pass, whether it contains the bias and the ReLU, and how far it was off when it was chosen.
struct ChosenPass {
    std::shared_ptr<Pass> pass;
    bool activates = false;
    double error =
        0;  ///< ‖·‖₂ relative, of some entries (kernels/convolution/convolution_accuracy.h); 0: never judged

    explicit operator bool() const { return pass != nullptr; }
    /// "ALGORITHM", "ALGORITHM+fused", and with the error "ALGORITHM~3e-04"; "none" for no pass.
    std::string to_string() const;
};

/// `written` as to_string() answered it. None, and *obstacle says why, where it cannot be had.
ChosenPass given_pass(PassProblem problem, const std::string& written, std::string* obstacle);

/// That with the least or the most workspace of all that fastest_pass() would choose from; nothing is run. None,
/// and *obstacle says why, where there is none.
ChosenPass extreme_pass(PassProblem problem, bool most, std::string* obstacle);

/// The fastest on this device that is as exact as its precision promises, timed once in a process for each
/// problem. A forward pass is offered the bias
/// and the ReLU too (problem.slope), and charged for them where it cannot take them in. None, and *obstacle
/// says why, where there is none.
ChosenPass fastest_pass(gpu::Stream stream, PassProblem problem, std::string* obstacle);

/// Runs the convolution once on made-up data, forward and backward, and waits, once in a process for each
/// problem and its algorithms: what the libraries load, compile or allocate on first use is there before work
/// is recorded, and an algorithm that fails does so while another can still be chosen. Throws Error.
void rehearse(gpu::Stream stream, Precision precision, const ConvolutionProblem& problem,
              Convolution& convolution);

}  // namespace tvmap::cuda
