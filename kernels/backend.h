// One interface over the devices: memory, order of work, and what needs more of a device than a place in its queue.
// Other kernels have versions for backends (kernels/base/kernel.h). The contracts are those of the kernels' own
// headers; all pointers (unless called `host`) are the backend's memory.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/base/features.h"
#include "kernels/base/kernel.h"
#include "kernels/convolution/convolution.h"
#include "kernels/family/family.h"
#include "kernels/machine_peak.h"
#include "kernels/optimiser/adam.h"
#include "kernels/solver/pdhg.h"
#include "kernels/training/finite.h"
#include "kernels/training/metrics.h"
#include "kernels/training/training_step.h"

namespace tvmap {

/// Work that was recorded and can be done again, with the same pointers: one graph launch on CUDA, a call on
/// the CPU. For one thread at a time, and that of its backend.
class Recording {
  public:
    virtual ~Recording() = default;
    virtual void replay() = 0;
    /// What a replay hands to the device, in pieces: the graph's nodes; 1 on the CPU.
    virtual std::size_t nodes() const = 0;
};

/// Operations are queued and carried out in order; upload, download and synchronise wait. By one thread.
class Backend : public KernelQueue {
  public:
    virtual ~Backend() = default;

    /// "cpu" or "cuda".
    virtual std::string name() const = 0;
    /// What it runs on, for banners: processor, threads, library versions.
    virtual std::string description() const = 0;
    /// All but the problem that algorithms chosen by measurement depend on: device, processor, threads,
    /// libraries.
    virtual std::string algorithm_key() const = 0;

    /// Measures what the device can reach: the yardstick of `tvmap bench`. Takes a second or so.
    virtual MachinePeak measure_peak() = 0;

    /// Memory aligned to at least 64 bytes, zero at first. Throws Error when there is not enough.
    virtual void* allocate(std::size_t bytes) = 0;
    virtual void release(void* memory, std::size_t bytes) noexcept = 0;
    /// Memory of the host, for every thread of it, that download and upload copy to and from at full speed (pinned
    /// on CUDA). Throws Error when there is not enough.
    virtual void* allocate_host(std::size_t bytes) = 0;
    virtual void release_host(void* memory, std::size_t bytes) noexcept = 0;
    virtual void upload(void* memory, const void* host, std::size_t bytes) = 0;
    virtual void download(void* host, const void* memory, std::size_t bytes) = 0;
    /// Sets every bit to 0.
    virtual void clear(void* memory, std::size_t bytes) = 0;
    /// Copies within the backend's memory, between places that do not overlap.
    virtual void copy(float* to, const float* from, std::int64_t floats) = 0;
    // Whole vectors, see kernels/layers/blas1.h.
    virtual void copy(ConstView x, View y) = 0;
    virtual void axpy(float a, ConstView x, View y) = 0;
    virtual void dot(ConstView x, ConstView y, double* sums) = 0;
    virtual void fill(View x, float value) = 0;
    virtual void find_not_finite(const float* x, std::int64_t count, std::uint32_t* found) = 0;

    /// Waits until everything queued is done; on CUDA, errors of kernels come up here at the latest.
    virtual void synchronise() = 0;
    /// `work` calls operations of this backend and nothing that waits. On CUDA it is recorded, not carried
    /// out.
    virtual std::unique_ptr<Recording> record(std::function<void()> work) = 0;
    /// Whether it pays to keep data in the backend's memory: false where that is the host's own.
    virtual bool separate_memory() const = 0;
    /// Bytes of the device's memory in use, by everybody; nothing where the host's memory serves.
    virtual std::optional<std::size_t> memory_in_use() const = 0;
    /// Bytes that can still be allocated, roughly.
    virtual std::size_t memory_free() const = 0;

    /// Channels per block of a tensor of C channels (see kernels/base/features.h).
    virtual int channel_block(int channels) const = 0;
    /// What a network's tensors in blocks of channels, and their gradients, are stored as.
    virtual Element feature_element() const { return Element::fp32; }

    virtual std::unique_ptr<Convolution> convolution(const ConvolutionProblem& problem,
                                                     const std::string& algorithms) = 0;

    virtual std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations) const = 0;
    virtual std::size_t pdhg_workspace_bytes(const PdhgProblem& problem) const = 0;
    /// How solves of these sizes are laid over a GPU (kernels/solver/pdhg.h): to be settled before anything else is asked
    /// for them, or it is guessed; and in words, "" where there is no choice.
    virtual std::string settle_pdhg_mapping(const PdhgProblem&, const std::string& /*kept*/,
                                            bool /*may_time*/, std::string* /*remark*/) {
        return "";
    }
    virtual std::string pdhg_mapping_name(const PdhgProblem&) const { return ""; }
    virtual void pdhg_forward(const PdhgProblem& problem, int iterations, const PdhgInput& input,
                              const PdhgOutput& output, const PdhgWorkspace& workspace) = 0;
    virtual void pdhg_adjoint(const PdhgProblem& problem, int iterations, const PdhgAdjoint& adjoint,
                              const PdhgDerivatives& derivatives, const PdhgWorkspace& workspace) = 0;
    virtual void pdhg_settle(int solves, const double* part, const double* sum, double tolerance, int steps,
                             PdhgSettling* settling) = 0;
    virtual std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem& problem) const = 0;
    virtual void pdhg_step_gradients(const PdhgProblem& problem, const PdhgStep& step, double* gradient,
                                     const PdhgWorkspace& workspace) = 0;

    virtual void data_to_image(const SolverProblem& problem, const float* data, const float* z, float* b) = 0;
    virtual void image_to_data(const SolverProblem& problem, const float* data, const float* d_b, float* d_z,
                               Write write) = 0;
    virtual void solver_forward(const SolverProblem& problem, int iterations, const SolverInput& input,
                                const PdhgOutput& output, const PdhgWorkspace& workspace) = 0;
    virtual void solver_adjoint(const SolverProblem& problem, int iterations, const float* gram,
                                const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                                const PdhgWorkspace& workspace) = 0;

    virtual void adam_step(const Adam& adam, std::int64_t count, float* w, const float* gradient, float* m,
                           float* v) = 0;
    /// With the values that the schedule has for its next step.
    virtual void adam_step(const Schedule& schedule, std::int64_t count, float* w, const float* gradient,
                           float* m, float* v) = 0;
    virtual void make_batch(std::uint64_t seed, const TrainingImages& images, const Schedule& schedule,
                            View target, View noisy) = 0;
    virtual void finish_step(const Schedule& schedule, const double* loss) = 0;

    virtual void image_quality(const ComparedImages& images, ImageQuality* quality) = 0;
};

/// `device`: auto (CUDA where it can be used, else the CPU), cpu or cuda. `precision`: fp32, tf32 or bf16, of
/// the network's products. The CPU has no tf32, and bf16, which it keeps the network's tensors in as well, where
/// cpu::bf16_instructions() names some. Throws Error where something is missing, saying what.
std::unique_ptr<Backend> make_backend(const std::string& device, const std::string& precision = "fp32");

/// Throws the Error that make_backend would throw for this device, without opening it.
void check_device(const std::string& device);

/// One line on the CUDA backend: the device, or why there is none.
std::string cuda_status();

}  // namespace tvmap
