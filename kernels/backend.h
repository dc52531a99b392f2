// One interface over the devices: memory, and every operation with its forward and backward side by side. The
// contracts are those of the operations' own headers; all pointers (unless called `host`) are the backend's
// memory.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "kernels/adam.h"
#include "kernels/convolution.h"
#include "kernels/features.h"
#include "kernels/loss.h"
#include "kernels/parameter_map.h"
#include "kernels/pdhg.h"

namespace tvmap {

class Backend {
  public:
    virtual ~Backend() = default;

    /// "cpu" or "cuda".
    virtual std::string name() const = 0;
    /// What it runs on, for banners: processor, threads, library versions.
    virtual std::string description() const = 0;
    /// All but the problem that algorithms chosen by measurement depend on: device, processor, threads,
    /// libraries.
    virtual std::string algorithm_key() const = 0;

    /// Memory aligned to at least 64 bytes, zero at first. Throws Error when there is not enough.
    virtual void* allocate(std::size_t bytes) = 0;
    virtual void release(void* memory, std::size_t bytes) noexcept = 0;
    virtual void upload(void* memory, const void* host, std::size_t bytes) = 0;
    virtual void download(void* host, const void* memory, std::size_t bytes) = 0;
    virtual void clear(View x) = 0;

    /// Channels per block of a tensor of C channels (see kernels/features.h).
    virtual int channel_block(int channels) const = 0;

    virtual std::unique_ptr<Convolution> convolution(const ConvolutionProblem& problem,
                                                     const std::string& algorithms) = 0;

    virtual void max_pool_forward(ConstView x, View y) = 0;
    virtual void max_pool_backward(ConstView x, ConstView d_y, View d_x, Write write) = 0;

    virtual void upsample_forward(ConstView x, View y) = 0;
    virtual void upsample_backward(ConstView d_y, View d_x, Write write) = 0;

    virtual void leaky_relu_forward(ConstView x, View y, float slope) = 0;
    virtual void leaky_relu_backward(ConstView y, ConstView d_y, View d_x, float slope, Write write) = 0;

    virtual void add(ConstView a, ConstView b, View sum) = 0;

    virtual void parameter_map_forward(const ParameterMap& map, ConstView raw, View lambda) = 0;
    virtual void parameter_map_backward(const ParameterMap& map, ConstView raw, ConstView d_lambda,
                                        View d_raw, Write write) = 0;

    virtual std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations) const = 0;
    virtual std::size_t pdhg_workspace_bytes(const PdhgProblem& problem) const = 0;
    virtual void pdhg_forward(const PdhgProblem& problem, int iterations, const float* z, const float* lambda,
                              float* x, std::uint8_t* masks, void* workspace) = 0;
    virtual void pdhg_adjoint(const PdhgProblem& problem, int iterations, const std::uint8_t* masks,
                              const float* d_x, float* d_lambda, float* d_z, Write write,
                              void* workspace) = 0;

    /// The loss is written to *loss, MSE_n to image_mse[n].
    virtual void loss_forward(LossKind kind, ConstView x, ConstView target, double* image_mse,
                              double* loss) = 0;
    virtual void loss_backward(LossKind kind, ConstView x, ConstView target, const double* image_mse,
                               View d_x, Write write) = 0;

    virtual void adam_step(const Adam& adam, std::int64_t count, float* w, const float* gradient, float* m,
                           float* v) = 0;
};

/// `device`: auto, cpu or cuda. Throws Error for cuda where there is none, saying what was missing.
std::unique_ptr<Backend> make_backend(const std::string& device);

/// One line on the CUDA backend: the device, or why there is none.
std::string cuda_status();

}  // namespace tvmap
