// The CPU backend: hands every operation on to tvmap::cpu.
#include "kernels/backend.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "kernels/amx/tile_convolution.h"
#include "kernels/base/error.h"
#include "kernels/base/simd.h"
#include "kernels/cuda_loader.h"
#include "kernels/layers/blas1.h"
#include "kernels/machine_peak.h"
#include "kernels/threads/parallel.h"
#include "kernels/threads/threads.h"

namespace tvmap {
namespace {

class RecordedCall final : public Recording {
  public:
    explicit RecordedCall(std::function<void()> work) : work_(std::move(work)) {}
    void replay() override { work_(); }
    std::size_t nodes() const override { return 1; }

  private:
    std::function<void()> work_;
};

class CpuBackend final : public Backend {
  public:
    explicit CpuBackend(Element features) : features_(features) {}
    std::string name() const override { return "cpu"; }
    std::string description() const override {
        const std::string precision =
            features_ == Element::bf16 ? "bf16 by " + cpu::bf16_instructions() : "fp32";
        return text("cpu, ", thread_count(), thread_count() == 1 ? " thread, " : " threads, ", precision);
    }
    std::string algorithm_key() const override {
        static const std::string machine = cpu::processor_name(), onednn = cpu::onednn_version();
        const std::string set = cpu::instruction_set();
        const std::string restricted = set == cpu::instruction_sets().front() ? "" : set + ", ";
        const char* const own = features_ == Element::bf16 && cpu::amx::has_tiles()
                                    ? ", winograd4, single_input, amx_tiles"
                                    : ", winograd4, single_input";
        return text("cpu, ", machine, ", ", restricted, thread_count(), " threads, oneDNN ", onednn, own);
    }

    MachinePeak measure_peak() override {
        return {cpu::peak_memory_rate(), cpu::peak_multiply_add_rate(),
                features_ == Element::bf16 ? cpu::peak_tile_rate() : 0.0};
    }

    // Pages straight from the system: they are zero, they are counted when first touched, and they go back
    // when released.
    void* allocate(std::size_t bytes) override {
        if (bytes == 0) return nullptr;
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("not enough memory for ", bytes >> 20, " MiB: use a smaller batch, crop or image size");
        return memory;
    }
    void release(void* memory, std::size_t bytes) noexcept override {
        if (memory) munmap(memory, bytes);
    }
    void* allocate_host(std::size_t bytes) override { return allocate(bytes); }
    void release_host(void* memory, std::size_t bytes) noexcept override { release(memory, bytes); }
    void upload(void* memory, const void* host, std::size_t bytes) override {
        if (bytes) std::memcpy(memory, host, bytes);
    }
    void download(void* host, const void* memory, std::size_t bytes) override {
        if (bytes) std::memcpy(host, memory, bytes);
    }
    void clear(void* memory, std::size_t bytes) override {
        if (bytes) std::memset(memory, 0, bytes);
    }
    void copy(float* to, const float* from, std::int64_t floats) override {
        cpu::parallel_pieces(floats, 2 * floats, [&](std::int64_t offset, std::int64_t length) {
            std::memcpy(to + offset, from + offset, sizeof(float) * std::size_t(length));
        });
    }
    void copy(ConstView x, View y) override { cpu::copy(x, y); }
    void axpy(float a, ConstView x, View y) override { cpu::axpy(a, x, y); }
    void dot(ConstView x, ConstView y, double* sums) override { cpu::dot(x, y, sums); }
    void fill(View x, float value) override { cpu::fill(x, value); }
    void find_not_finite(const float* x, std::int64_t count, std::uint32_t* found) override {
        cpu::find_not_finite(x, count, found);
    }

    void synchronise() override {}
    std::unique_ptr<Recording> record(std::function<void()> work) override {
        return std::make_unique<RecordedCall>(std::move(work));
    }
    bool separate_memory() const override { return false; }
    std::optional<std::size_t> memory_in_use() const override { return std::nullopt; }
    std::size_t memory_free() const override {
        return std::size_t(sysconf(_SC_AVPHYS_PAGES)) * std::size_t(sysconf(_SC_PAGESIZE));
    }

    int channel_block(int channels) const override { return cpu::channel_block(channels); }
    Element feature_element() const override { return features_; }

    std::unique_ptr<Convolution> convolution(const ConvolutionProblem& problem,
                                             const std::string& algorithms) override {
        return cpu::make_convolution(problem, algorithms);
    }

    std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations) const override {
        return cpu::pdhg_mask_bytes(problem, iterations);
    }
    std::size_t pdhg_workspace_bytes(const PdhgProblem& problem) const override {
        return cpu::pdhg_workspace_bytes(problem);
    }
    void pdhg_forward(const PdhgProblem& problem, int iterations, const PdhgInput& input,
                      const PdhgOutput& output, const PdhgWorkspace& workspace) override {
        cpu::pdhg_forward(problem, iterations, input, output, workspace);
    }
    void pdhg_adjoint(const PdhgProblem& problem, int iterations, const PdhgAdjoint& adjoint,
                      const PdhgDerivatives& derivatives, const PdhgWorkspace& workspace) override {
        cpu::pdhg_adjoint(problem, iterations, adjoint, derivatives, workspace);
    }
    void pdhg_settle(int solves, const double* part, const double* sum, double tolerance, int steps,
                     PdhgSettling* settling) override {
        cpu::pdhg_settle(solves, part, sum, tolerance, steps, settling);
    }
    std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem& problem) const override {
        return cpu::pdhg_step_gradients_workspace_bytes(problem);
    }
    void pdhg_step_gradients(const PdhgProblem& problem, const PdhgStep& step, double* gradient,
                             const PdhgWorkspace& workspace) override {
        cpu::pdhg_step_gradients(problem, step, gradient, workspace);
    }

    void data_to_image(const SolverProblem& problem, const float* data, const float* z, float* b) override {
        cpu::data_to_image(problem, data, z, b);
    }
    void image_to_data(const SolverProblem& problem, const float* data, const float* d_b, float* d_z,
                       Write write) override {
        cpu::image_to_data(problem, data, d_b, d_z, write);
    }
    void solver_forward(const SolverProblem& problem, int iterations, const SolverInput& input,
                        const PdhgOutput& output, const PdhgWorkspace& workspace) override {
        cpu::solver_forward(problem, iterations, input, output, workspace);
    }
    void solver_adjoint(const SolverProblem& problem, int iterations, const float* gram,
                        const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                        const PdhgWorkspace& workspace) override {
        cpu::solver_adjoint(problem, iterations, gram, adjoint, derivatives, workspace);
    }

    void adam_step(const Adam& adam, std::int64_t count, float* w, const float* gradient, float* m,
                   float* v) override {
        cpu::adam_step(adam, count, w, gradient, m, v);
    }
    void adam_step(const Schedule& schedule, std::int64_t count, float* w, const float* gradient, float* m,
                   float* v) override {
        cpu::adam_step(schedule.adam[*schedule.counter], count, w, gradient, m, v);
    }
    void make_batch(std::uint64_t seed, const TrainingImages& images, const Schedule& schedule, View target,
                    View noisy) override {
        cpu::make_batch(seed, images, schedule, target, noisy);
    }
    void finish_step(const Schedule& schedule, const double* loss) override {
        cpu::finish_step(schedule, loss);
    }

    void image_quality(const ComparedImages& images, ImageQuality* quality) override {
        cpu::image_quality(images, quality);
    }

  private:
    Element features_;
};

}  // namespace

void check_device(const std::string& device) {
    if (device != "auto" && device != "cpu" && device != "cuda")
        fail("device: ", device, " is not one of auto, cpu, cuda");
    if (device != "cuda") return;
    if (const std::string missing = cuda_unavailable(); !missing.empty())
        fail("device: cuda: ", missing, "; use device: cpu or auto");
}

std::unique_ptr<Backend> make_backend(const std::string& device, const std::string& precision) {
    check_device(device);
    if (device == "cuda" || (device == "auto" && cuda_unavailable().empty()))
        return open_cuda_backend(precision);
    if (precision == "bf16")
        cpu::require_bf16();
    else if (precision != "fp32")
        fail("network.precision: ", precision, " needs device: cuda; the CPU computes in fp32 or bf16");
    return std::make_unique<CpuBackend>(precision == "bf16" ? Element::bf16 : Element::fp32);
}

}  // namespace tvmap
