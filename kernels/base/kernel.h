// A kernel that backends have versions of: one function on the CPU and, given apart, one that queues the same work on
// CUDA. So an operation reaches both without a line in kernels/backend.h, also one from outside this library:
//     X.h     inline constexpr Kernel scale{"scale", cpu::scale};        cpu::scale(ConstView x, float factor, View y)
//     X.cu    const CudaVersion scale_version{scale, cuda::scale};       cuda::scale(gpu::Stream, the same)
//     called  scale(backend, x, 2.0f, y);
// The CUDA version is looked for in the library that the backend is of (libtvmap_cuda.so, the emulation): X.cu belongs
// in there. It may be missing: on CUDA such a kernel is refused.
#pragma once
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>

#include "kernels/base/stream.h"

namespace tvmap {

/// What a kernel is, but for how it is called. Two have the same name only by mistake.
struct KernelId {
    const char* name;
    const std::type_info* arguments;  ///< void(Arguments...)
};

/// Any function, to be called as what it is only.
using AnyFunction = void (*)();

/// Where kernels run: what a backend (kernels/backend.h) is to them.
class KernelQueue {
  public:
    /// The queue that everything goes into, in order; nothing on the CPU, where kernels are called.
    virtual std::optional<gpu::Stream> stream() const { return std::nullopt; }
    /// The function that queues a kernel; null where it has no version for this backend, as on the CPU.
    virtual AnyFunction cuda_version(const KernelId& /*kernel*/) const { return nullptr; }

  protected:
    ~KernelQueue() = default;
};

namespace detail {

/// How to queue a kernel; function is null where the CPU's is to be called.
struct Queued {
    AnyFunction function = nullptr;
    gpu::Stream stream;
};
Queued queued(const KernelQueue& backend, const KernelId& kernel);

/// The CUDA version in this library. Null where there is none; throws Error where that is not clear.
AnyFunction cuda_version(const KernelId& kernel);

void give_cuda_version(const KernelId& kernel, AnyFunction function);

}  // namespace detail

/// Does not change: threads may share it. What its versions do must be the same, to the rounding they promise.
template <class... Arguments>
class Kernel {
  public:
    constexpr Kernel(const char* name, void (*on_cpu)(Arguments...))
        : id_{name, &typeid(void(Arguments...))}, on_cpu_(on_cpu) {}

    constexpr const KernelId& id() const { return id_; }

    /// Runs it, or queues it, on a backend. Throws Error where that has no version.
    void operator()(KernelQueue& backend, std::type_identity_t<Arguments>... arguments) const {
        if (const detail::Queued queued = detail::queued(backend, id_); queued.function)
            reinterpret_cast<void (*)(gpu::Stream, Arguments...)>(queued.function)(queued.stream,
                                                                                   arguments...);
        else
            on_cpu_(arguments...);
    }

  private:
    KernelId id_;
    void (*on_cpu_)(Arguments...);
};

/// Throws Error, as a call would, where a backend has no version of a kernel; `user` is who needs it.
void require_kernel(const KernelQueue& backend, const KernelId& kernel, const std::string& user);

/// Gives a kernel its CUDA version in this library, for as long as the program runs: before the first call, and by one
/// thread. A .cu file that is linked as it is has one at namespace scope. One in a static library, where a linker leaves
/// out what nobody refers to, stands in the list of kernels/cuda_versions.cu.
struct CudaVersion {
    template <class... Arguments>
    CudaVersion(const Kernel<Arguments...>& kernel,
                std::type_identity_t<void (*)(gpu::Stream, Arguments...)> on_cuda) {
        detail::give_cuda_version(kernel.id(), reinterpret_cast<AnyFunction>(on_cuda));
    }
};

}  // namespace tvmap
