// What the host asks of the GPU besides launching kernels (kernels/gpu/gpu.h): devices, memory, copies, timers,
// recorded graphs. There are two implementations: kernels/cuda/runtime.cu on the CUDA runtime,
// kernels/emulation/runtime.cpp on the host. Every failure is an Error that names the call and the device.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "kernels/base/stream.h"

namespace tvmap::gpu {

/// What kernels are fitted to.
struct Device {
    std::string name;          ///< "NVIDIA H200"; "emulated"
    int major = 0, minor = 0;  ///< compute capability
    int multiprocessors = 0;
    std::size_t memory = 0;            ///< bytes
    std::size_t shared_per_block = 0;  ///< most dynamic shared memory that a block can be given, bytes
    int largest_cluster = 1;           ///< blocks; 1: no clusters
    std::string driver, runtime;       ///< versions, like "13.0"
    bool keeps_time = true;            ///< whether times tell anything; false where it is emulated
};

/// Empty where a GPU can be used; else why not, in one line: no driver, no device, or none that this build
/// has code for (naming the device's architecture and those that were built).
std::string unavailable();

/// The device in use: number 0 of those that CUDA shows. Throws Error where unavailable() has something to
/// say.
const Device& device();

Stream make_stream();
void release_stream(Stream stream) noexcept;
/// Waits for everything in the stream, and reports what failed in it.
void synchronise(Stream stream);

/// Device memory aligned to 256 bytes; contents undefined. Throws Error when there is not enough.
void* allocate(std::size_t bytes);
void release(void* memory) noexcept;
/// Host memory that copies read and write without waiting.
void* allocate_pinned(std::size_t bytes);
void release_pinned(void* memory) noexcept;
/// Bytes in use on the whole device, by everybody.
std::size_t memory_in_use();
std::size_t memory_free();

/// Queues a copy in any direction. Host memory that is not pinned is safe to reuse on return.
void copy(Stream stream, void* to, const void* from, std::size_t bytes);
void fill(Stream stream, void* memory, int byte, std::size_t bytes);

/// Seconds that the stream takes for `work`, by device events: the median of `repeat` runs after `warm_up`
/// others.
double time(Stream stream, const std::function<void()>& work, int warm_up, int repeat);

/// Work recorded once and replayed with the same arguments. For one thread at a time.
class Graph {
  public:
    virtual ~Graph() = default;
    virtual void launch(Stream stream) = 0;
    /// Launches, copies and the like that one launch of the graph carries out.
    virtual std::size_t nodes() const = 0;
};
/// Runs `work`, which must queue everything into `stream` and neither wait nor allocate; nothing of it is
/// executed, all of it is recorded.
std::unique_ptr<Graph> record(Stream stream, const std::function<void()>& work);

}  // namespace tvmap::gpu
