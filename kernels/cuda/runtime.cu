// kernels/gpu/gpu_runtime.h and the launches of kernels/gpu/gpu.h on the CUDA runtime.
#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/gpu/gpu.h"

namespace tvmap::gpu {
namespace {

void check(cudaError_t status, const char* call) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // a failure that does not stick must not be met again
    fail("CUDA: ", call, ": ", cudaGetErrorString(status));
}

cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

std::string version_text(int version) { return text(version / 1000, ".", version % 1000 / 10); }

// Does nothing: whether the driver finds code for it tells whether this build fits the device.
__global__ void probe_kernel() {}

Device read_device() {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    Device device;
    device.name = properties.name;
    device.major = properties.major;
    device.minor = properties.minor;
    device.multiprocessors = properties.multiProcessorCount;
    device.memory = properties.totalGlobalMem;
    device.shared_per_block = properties.sharedMemPerBlockOptin;
    device.largest_cluster = properties.major >= 9 ? 8 : 1;  // 16 is not portable
    device.driver = version_text(driver);
    device.runtime = version_text(runtime);
    return device;
}

std::string find_obstacle() {
    int driver = 0, runtime = 0, count = 0;
    cudaRuntimeGetVersion(&runtime);
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return "no NVIDIA driver on this machine";
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver)
        return text("the driver is for CUDA ", version_text(driver), ", this build needs ",
                    version_text(runtime), ": update the driver");
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
        return "the driver shows no GPU";
    if (status != cudaSuccess) return text("cudaGetDeviceCount: ", cudaGetErrorString(status));
    cudaFuncAttributes attributes;
    const cudaError_t code = cudaFuncGetAttributes(&attributes, probe_kernel);
    if (code == cudaSuccess) return "";
    cudaGetLastError();
    const Device device = read_device();
    return text("no code for ", device.name, " (compute capability ", device.major, ".", device.minor,
                ") in this build, which has ", TVMAP_CUDA_ARCHITECTURES,
                ": configure with "
                "-DCMAKE_CUDA_ARCHITECTURES=",
                device.major, device.minor, " (", cudaGetErrorString(code), ")");
}

class RecordedGraph final : public Graph {
  public:
    explicit RecordedGraph(cudaGraph_t graph) {
        cudaError_t status = cudaGraphGetNodes(graph, nullptr, &nodes_);
        if (status == cudaSuccess) status = cudaGraphInstantiate(&executable_, graph, 0);
        cudaGraphDestroy(graph);
        check(status, "cudaGraphInstantiate");
    }
    ~RecordedGraph() override { cudaGraphExecDestroy(executable_); }
    RecordedGraph(const RecordedGraph&) = delete;
    RecordedGraph& operator=(const RecordedGraph&) = delete;
    void launch(Stream stream) override {
        check(cudaGraphLaunch(executable_, stream_of(stream)), "cudaGraphLaunch");
    }
    std::size_t nodes() const override { return nodes_; }

  private:
    cudaGraphExec_t executable_ = nullptr;
    std::size_t nodes_ = 0;
};

struct EventPair {
    cudaEvent_t start = nullptr, stop = nullptr;
    EventPair() {
        check(cudaEventCreate(&start), "cudaEventCreate");
        check(cudaEventCreate(&stop), "cudaEventCreate");
    }
    ~EventPair() {
        cudaEventDestroy(start);
        cudaEventDestroy(stop);
    }
};

std::string sizes(const Launch& how) {
    return text(how.grid.x, "x", how.grid.y, "x", how.grid.z, " blocks of ", how.block.x, "x", how.block.y,
                "x", how.block.z, " threads, ", how.shared_bytes, " bytes of shared memory",
                how.cluster > 1 ? text(", clusters of ", how.cluster) : std::string());
}

/// A kernel may use more than 48 KiB of shared memory, or clusters past the portable size, only when told so;
/// what it was told last counts, hence the most that was asked for.
void allow(const Launch& how, const void* kernel) {
    static std::mutex mutex;
    static std::map<const void*, std::size_t> most;
    static std::set<const void*> large_clusters;
    const std::lock_guard lock(mutex);
    if (how.shared_bytes > 48 * 1024 && how.shared_bytes > most[kernel]) {
        const cudaError_t status =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(how.shared_bytes));
        if (status != cudaSuccess) {
            cudaGetLastError();
            fail("CUDA: ", how.name, ": ", how.shared_bytes, " bytes of shared memory for a block, ",
                 device().name, " has ", device().shared_per_block);
        }
        most[kernel] = how.shared_bytes;
    }
    if (how.cluster > 8 && large_clusters.insert(kernel).second)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1), how.name);
}

struct Configuration {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2];

    Configuration(Stream stream, const Launch& how) {
        config.gridDim = how.grid;
        config.blockDim = how.block;
        config.dynamicSmemBytes = how.shared_bytes;
        config.stream = stream_of(stream);
        config.attrs = attributes;
        if (how.cluster > 1) {
            cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
            attribute.id = cudaLaunchAttributeClusterDimension;
            attribute.val.clusterDim.x = how.cluster;
            attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
        }
        if (how.cooperative) {
            cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
            attribute.id = cudaLaunchAttributeCooperative;
            attribute.val.cooperative = 1;
        }
    }
};

}  // namespace

std::string unavailable() {
    static const std::string obstacle = find_obstacle();
    return obstacle;
}

const Device& device() {
    static const Device found = [] {
        if (!unavailable().empty()) fail("CUDA: ", unavailable());
        return read_device();
    }();
    return found;
}

Stream make_stream() {
    device();
    cudaStream_t stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    return {stream};
}

void release_stream(Stream stream) noexcept { cudaStreamDestroy(stream_of(stream)); }

void synchronise(Stream stream) { check(cudaStreamSynchronize(stream_of(stream)), "cudaStreamSynchronize"); }

void* allocate(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    device();
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) != cudaSuccess) {
        cudaGetLastError();
        fail("not enough memory on ", device().name, " for ", bytes >> 20, " MiB (", memory_free() >> 20,
             " MiB free): use a smaller batch, crop or image size");
    }
    return memory;
}

void release(void* memory) noexcept { cudaFree(memory); }

void* allocate_pinned(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    device();
    void* memory = nullptr;
    check(cudaMallocHost(&memory, bytes), "cudaMallocHost");
    return memory;
}

void release_pinned(void* memory) noexcept { cudaFreeHost(memory); }

std::size_t memory_in_use() {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return total - free;
}

std::size_t memory_free() {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return free;
}

void copy(Stream stream, void* to, const void* from, std::size_t bytes) {
    if (bytes > 0)
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)), "cudaMemcpyAsync");
}

void fill(Stream stream, void* memory, int byte, std::size_t bytes) {
    if (bytes > 0) check(cudaMemsetAsync(memory, byte, bytes, stream_of(stream)), "cudaMemsetAsync");
}

double time(Stream stream, const std::function<void()>& work, int warm_up, int repeat) {
    for (int i = 0; i < warm_up; ++i) work();
    const EventPair events;
    std::vector<float> milliseconds(std::size_t(std::max(repeat, 1)));
    for (float& taken : milliseconds) {
        check(cudaEventRecord(events.start, stream_of(stream)), "cudaEventRecord");
        work();
        check(cudaEventRecord(events.stop, stream_of(stream)), "cudaEventRecord");
        check(cudaEventSynchronize(events.stop), "cudaEventSynchronize");
        check(cudaEventElapsedTime(&taken, events.start, events.stop), "cudaEventElapsedTime");
    }
    const auto middle = milliseconds.begin() + std::ptrdiff_t(milliseconds.size() / 2);
    std::nth_element(milliseconds.begin(), middle, milliseconds.end());
    return *middle * 1e-3;
}

std::unique_ptr<Graph> record(Stream stream, const std::function<void()>& work) {
    check(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
        work();
    } catch (...) {
        cudaStreamEndCapture(stream_of(stream), &graph);
        if (graph) cudaGraphDestroy(graph);
        cudaGetLastError();
        throw;
    }
    check(cudaStreamEndCapture(stream_of(stream), &graph), "cudaStreamEndCapture");
    return std::make_unique<RecordedGraph>(graph);
}

namespace detail {

void launch(Stream stream, const Launch& how, const void* kernel, void** arguments) {
    if (how.cluster > unsigned(device().largest_cluster) && device().major < 9)
        fail("CUDA: ", how.name, ": clusters need compute capability 9.0, ", device().name, " has ",
             device().major, ".", device().minor);
    allow(how, kernel);
    const Configuration launch(stream, how);
    const cudaError_t status = cudaLaunchKernelExC(&launch.config, kernel, arguments);
    if (status == cudaSuccess) return;
    cudaGetLastError();
    fail("CUDA: ", how.name, " on ", device().name, ": ", sizes(how), ": ", cudaGetErrorString(status));
}

int resident_blocks(const Launch& how, const void* kernel) {
    if (how.shared_bytes > device().shared_per_block) return 0;
    allow(how, kernel);
    int count = 0;
    if (how.cluster > 1) {
        if (device().major < 9) return 0;
        const Configuration launch({}, how);
        if (cudaOccupancyMaxActiveClusters(&count, kernel, &launch.config) != cudaSuccess) count = 0;
        cudaGetLastError();
        return count * int(how.cluster);
    }
    const int threads = int(how.block.x * how.block.y * how.block.z);
    if (cudaOccupancyMaxActiveBlocksPerMultiprocessor(&count, kernel, threads, how.shared_bytes) !=
        cudaSuccess)
        count = 0;
    cudaGetLastError();
    return count * device().multiprocessors;
}

}  // namespace detail
}  // namespace tvmap::gpu
