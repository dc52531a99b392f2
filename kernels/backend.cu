// The CUDA backend: one stream, into which every operation of tvmap::cuda is queued; and the entry through
// which the program opens this library.
#include "kernels/backend.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_passes.h"
#include "kernels/cuda_loader.h"
#include "kernels/cuda_versions.h"
#include "kernels/gpu/gpu_runtime.h"
#include "kernels/layers/blas1.h"
#include "kernels/machine_peak.h"
#include "kernels/training/random.h"

namespace tvmap {
namespace {

class StreamOwner {
  public:
    StreamOwner() : stream_(gpu::make_stream()) {}
    ~StreamOwner() { gpu::release_stream(stream_); }
    StreamOwner(const StreamOwner&) = delete;
    StreamOwner& operator=(const StreamOwner&) = delete;
    gpu::Stream get() const { return stream_; }

  private:
    gpu::Stream stream_;
};

/// Device memory that grows when more is asked for. What it had before stays: a recording may work in it. Since it
/// at least doubles, that is less than what it has.
class Scratch {
  public:
    Scratch() = default;
    ~Scratch() {
        for (void* memory : all_) gpu::release(memory);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    void* of(std::size_t bytes) {
        if (bytes > bytes_) {
            const std::size_t grown = std::max(bytes, 2 * bytes_);
            all_.reserve(all_.size() + 1);
            all_.push_back(gpu::allocate(grown));
            bytes_ = grown;
        }
        return all_.empty() ? nullptr : all_.back();
    }

  private:
    std::vector<void*> all_;
    std::size_t bytes_ = 0;  // of the last
};

class GraphRecording final : public Recording {
  public:
    GraphRecording(gpu::Stream stream, const std::function<void()>& work)
        : stream_(stream), graph_(gpu::record(stream, work)) {}
    void replay() override { graph_->launch(stream_); }
    std::size_t nodes() const override { return graph_->nodes(); }

  private:
    gpu::Stream stream_;
    std::unique_ptr<gpu::Graph> graph_;
};

class CudaBackend final : public Backend {
  public:
    explicit CudaBackend(cuda::Precision precision) : precision_(precision) { cuda::list_versions(); }

    std::string name() const override { return "cuda"; }
    std::string description() const override {
        const char* note = precision_ == cuda::Precision::fp32 ? " (TF32 off)" : " products, sums in fp32";
        return text("cuda, ", gpu::device().name, ", ", cuda::precision_name(precision_), note);
    }
    std::string algorithm_key() const override {
        return text("cuda, ", gpu::device().name, ", ", cuda::precision_name(precision_), ", ",
                    cuda::vendor_library_versions());
    }

    MachinePeak measure_peak() override { return cuda::measure_peak(stream_.get()); }

    void* allocate(std::size_t bytes) override {
        void* memory = gpu::allocate(bytes);
        gpu::fill(stream_.get(), memory, 0, bytes);
        gpu::synchronise(stream_.get());
        return memory;
    }
    void release(void* memory, std::size_t) noexcept override { gpu::release(memory); }
    void* allocate_host(std::size_t bytes) override { return gpu::allocate_pinned(bytes); }
    void release_host(void* memory, std::size_t) noexcept override { gpu::release_pinned(memory); }
    void upload(void* memory, const void* host, std::size_t bytes) override {
        gpu::copy(stream_.get(), memory, host, bytes);
        gpu::synchronise(stream_.get());
    }
    void download(void* host, const void* memory, std::size_t bytes) override {
        gpu::copy(stream_.get(), host, memory, bytes);
        gpu::synchronise(stream_.get());
    }
    void clear(void* memory, std::size_t bytes) override { gpu::fill(stream_.get(), memory, 0, bytes); }
    void copy(float* to, const float* from, std::int64_t floats) override {
        gpu::copy(stream_.get(), to, from, sizeof(float) * std::size_t(floats));
    }
    void copy(ConstView x, View y) override { cuda::copy(stream_.get(), x, y); }
    void axpy(float a, ConstView x, View y) override { cuda::axpy(stream_.get(), a, x, y); }
    void dot(ConstView x, ConstView y, double* sums) override { cuda::dot(stream_.get(), x, y, sums); }
    void fill(View x, float value) override { cuda::fill(stream_.get(), x, value); }
    void find_not_finite(const float* x, std::int64_t count, std::uint32_t* found) override {
        cuda::find_not_finite(stream_.get(), x, count, found);
    }

    void synchronise() override { gpu::synchronise(stream_.get()); }
    std::unique_ptr<Recording> record(std::function<void()> work) override {
        return std::make_unique<GraphRecording>(stream_.get(), work);
    }
    std::optional<gpu::Stream> stream() const override { return stream_.get(); }
    AnyFunction cuda_version(const KernelId& kernel) const override { return detail::cuda_version(kernel); }
    bool separate_memory() const override { return true; }
    std::optional<std::size_t> memory_in_use() const override { return gpu::memory_in_use(); }
    std::size_t memory_free() const override { return gpu::memory_free(); }

    int channel_block(int) const override { return 1; }

    std::unique_ptr<Convolution> convolution(const ConvolutionProblem& problem,
                                             const std::string& algorithms) override {
        return cuda::make_convolution(stream_.get(), precision_, problem, algorithms);
    }

    std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations) const override {
        return cuda::pdhg_mask_bytes(problem, iterations);
    }
    std::size_t pdhg_workspace_bytes(const PdhgProblem& problem) const override {
        return cuda::pdhg_workspace_bytes(problem);
    }
    std::string settle_pdhg_mapping(const PdhgProblem& problem, const std::string& kept, bool may_time,
                                    std::string* remark) override {
        return cuda::settle_pdhg_mapping(stream_.get(), problem, kept, may_time, remark);
    }
    std::string pdhg_mapping_name(const PdhgProblem& problem) const override {
        return cuda::mapping_name(cuda::pdhg_mapping(problem));
    }
    void pdhg_forward(const PdhgProblem& problem, int iterations, const PdhgInput& input,
                      const PdhgOutput& output, const PdhgWorkspace& workspace) override {
        cuda::pdhg_forward(stream_.get(), problem, iterations, input, output, workspace);
    }
    void pdhg_adjoint(const PdhgProblem& problem, int iterations, const PdhgAdjoint& adjoint,
                      const PdhgDerivatives& derivatives, const PdhgWorkspace& workspace) override {
        cuda::pdhg_adjoint(stream_.get(), problem, iterations, adjoint, derivatives, workspace);
    }
    void pdhg_settle(int solves, const double* part, const double* sum, double tolerance, int steps,
                     PdhgSettling* settling) override {
        cuda::pdhg_settle(stream_.get(), solves, part, sum, tolerance, steps, settling);
    }
    std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem& problem) const override {
        return cuda::pdhg_step_gradients_workspace_bytes(problem);
    }
    void pdhg_step_gradients(const PdhgProblem& problem, const PdhgStep& step, double* gradient,
                             const PdhgWorkspace& workspace) override {
        cuda::pdhg_step_gradients(stream_.get(), problem, step, gradient, workspace);
    }

    void data_to_image(const SolverProblem& problem, const float* data, const float* z, float* b) override {
        cuda::data_to_image(stream_.get(), problem, data, z, b);
    }
    void image_to_data(const SolverProblem& problem, const float* data, const float* d_b, float* d_z,
                       Write write) override {
        cuda::image_to_data(stream_.get(), problem, data, d_b, d_z, write);
    }
    void solver_forward(const SolverProblem& problem, int iterations, const SolverInput& input,
                        const PdhgOutput& output, const PdhgWorkspace& workspace) override {
        cuda::solver_forward(stream_.get(), problem, iterations, input, output, workspace);
    }
    void solver_adjoint(const SolverProblem& problem, int iterations, const float* gram,
                        const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                        const PdhgWorkspace& workspace) override {
        cuda::solver_adjoint(stream_.get(), problem, iterations, gram, adjoint, derivatives, workspace);
    }

    void adam_step(const Adam& adam, std::int64_t count, float* w, const float* gradient, float* m,
                   float* v) override {
        cuda::adam_step(stream_.get(), adam, count, w, gradient, m, v);
    }
    void adam_step(const Schedule& schedule, std::int64_t count, float* w, const float* gradient, float* m,
                   float* v) override {
        cuda::adam_step(stream_.get(), schedule, count, w, gradient, m, v);
    }
    void make_batch(std::uint64_t seed, const TrainingImages& images, const Schedule& schedule, View target,
                    View noisy) override {
        cuda::make_batch(stream_.get(), seed, images, schedule, target, noisy);
    }
    void finish_step(const Schedule& schedule, const double* loss) override {
        cuda::finish_step(stream_.get(), schedule, loss);
    }

    void image_quality(const ComparedImages& images, ImageQuality* quality) override {
        void* workspace = quality_scratch_.of(cuda::image_quality_workspace_bytes(images));
        cuda::image_quality(stream_.get(), images, quality, workspace);
    }

  private:
    StreamOwner stream_;
    cuda::Precision precision_;
    Scratch quality_scratch_;
};

std::string unavailable() {
    const std::string obstacle = gpu::unavailable();
    return obstacle.empty() ? cuda::vendor_libraries_missing() : obstacle;
}

std::string describe() {
    const gpu::Device& device = gpu::device();
    return text(device.name, ", compute capability ", device.major, ".", device.minor, ", ",
                device.memory >> 20, " MiB, driver for CUDA ", device.driver, ", runtime ", device.runtime,
                ", ", cuda::vendor_library_versions());
}

std::unique_ptr<Backend> open(const std::string& precision) {
    return std::make_unique<CudaBackend>(cuda::parse_precision(precision));
}

}  // namespace
}  // namespace tvmap

extern "C" __attribute__((visibility("default"))) const tvmap::CudaLibrary* tvmap_cuda_library() {
    static const tvmap::CudaLibrary library{TVMAP_INTERFACE, tvmap::unavailable, tvmap::describe,
                                            tvmap::open};
    return &library;
}
