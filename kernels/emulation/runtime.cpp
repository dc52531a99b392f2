// kernels/gpu/gpu_runtime.h on the host. Work runs as soon as it is queued, unless it is recorded. Memory is
// allocated to the byte; under the address sanitizer, device memory can be touched by queued work alone, as
// on a GPU.
#include "kernels/gpu/gpu_runtime.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/emulation/scheduler.h"
#include "kernels/emulation/worker.h"

namespace tvmap {
namespace {

std::recursive_mutex turn;  // host threads take turns

using Work = std::function<void()>;

struct Queue {
    std::vector<Work>* recording = nullptr;
};
Queue* recording_queue = nullptr;

gpu::Device emulated_device = {"emulated", 9,     0,     8,    std::size_t(4) << 30, std::size_t(227) << 10,
                               8,          "0.0", "0.0", false};
std::vector<int> processor_groups;

// ---- memory ----

/// Bytes by address.
class Allocations {
  public:
    void* allocate(std::size_t bytes) {
        void* memory = nullptr;
        if (posix_memalign(&memory, 256, bytes) != 0) throw std::bad_alloc();
        std::memset(memory, 0xff, bytes);
        sizes_[reinterpret_cast<std::uintptr_t>(memory)] = bytes;
        bytes_ += bytes;
        return memory;
    }
    void release(void* memory) {
        const auto found = sizes_.find(reinterpret_cast<std::uintptr_t>(memory));
        if (found == sizes_.end()) std::abort();  // not ours, or released before
        bytes_ -= found->second;
        sizes_.erase(found);
        std::free(memory);
    }
    /// Whether the allocation that `memory` points into (or behind) goes on for so many bytes; nothing where
    /// there is none.
    enum class Room { elsewhere, too_small, enough };
    Room room(const void* memory, std::size_t bytes) const {
        const auto address = reinterpret_cast<std::uintptr_t>(memory);
        auto after = sizes_.upper_bound(address);
        if (after == sizes_.begin()) return Room::elsewhere;
        const auto& [start, size] = *--after;
        if (address - start > size) return Room::elsewhere;
        return size - (address - start) >= bytes ? Room::enough : Room::too_small;
    }
    std::size_t bytes() const { return bytes_; }
    template <class Visit>
    void each(const Visit& visit) const {
        for (const auto& [start, size] : sizes_) visit(reinterpret_cast<void*>(start), size);
    }

  private:
    std::map<std::uintptr_t, std::size_t> sizes_;
    std::size_t bytes_ = 0;
};
using Room = Allocations::Room;

Allocations device_memory, pinned_memory;
int accesses = 0;  // nested scopes of work on the device

/// While it lives, device memory can be touched.
class DeviceAccess {
  public:
    DeviceAccess() {
        if (accesses++ == 0) device_memory.each(emulation::allow_access);
    }
    ~DeviceAccess() {
        if (--accesses == 0) device_memory.each(emulation::forbid_access);
    }
    DeviceAccess(const DeviceAccess&) = delete;
    DeviceAccess& operator=(const DeviceAccess&) = delete;
};

void refuse_while_recording(const char* call) {
    if (recording_queue != nullptr) fail(call, " while work is recorded: record only what can be replayed");
}

void check_device_memory(const char* call, const void* memory, std::size_t bytes) {
    if (device_memory.room(memory, bytes) != Room::enough)
        fail(call, " of ", bytes, " bytes reaches out of an allocation");
}

// ---- record of what was tested ----

std::set<std::string> launched_kernels, compared_kernels;

}  // namespace

namespace emulation {

void set_device(const gpu::Device& device) { emulated_device = device; }
void set_processor_groups(std::vector<int> sizes) { processor_groups = std::move(sizes); }

void visit_memory(const std::function<void(void*, std::size_t)>& visit) {
    const std::lock_guard lock(turn);
    device_memory.each(visit);
    pinned_memory.each(visit);
}

const std::set<std::string>& launched() { return launched_kernels; }
const std::set<std::string>& compared() { return compared_kernels; }
void mark_compared() {
    compared_kernels.merge(launched_kernels);
    launched_kernels.clear();
}

void enqueue(gpu::Stream stream, std::function<void()> work) {
    const std::lock_guard lock(turn);
    auto* queue = static_cast<Queue*>(stream.handle);
    if (recording_queue != nullptr && recording_queue != queue)
        fail("work is queued into one stream while another is recorded");
    if (queue != nullptr && queue->recording != nullptr) {
        queue->recording->push_back(std::move(work));
        return;
    }
    const DeviceAccess access;
    work();
}

void check_argument(const gpu::Launch& how, const void* pointer) {
    const std::lock_guard lock(turn);
    if (pointer == nullptr || device_memory.room(pointer, 0) != Room::elsewhere ||
        pinned_memory.room(pointer, 0) != Room::elsewhere)
        return;
    fail("kernel ", how.name, ": an argument points to host memory");
}

namespace {

std::string sizes(dim3 d) { return text(d.x, "x", d.y, "x", d.z); }

}  // namespace

void check_launch(const gpu::Launch& how) {
    const gpu::Device& device = emulated_device;
    const dim3 grid = how.grid, block = how.block;
    const auto refuse = [&](const auto&... why) {
        fail("kernel ", how.name, ", grid ", sizes(grid), ", block ", sizes(block), ", cluster ", how.cluster,
             ", ", how.shared_bytes, " bytes of shared memory: ", why..., " (", device.name, ")");
    };
    const std::uint64_t threads = std::uint64_t(block.x) * block.y * block.z;
    if (threads == 0 || std::uint64_t(grid.x) * grid.y * grid.z == 0) refuse("nothing to do");
    if (threads > 1024 || block.z > 64) refuse("a block has at most 1024 threads, 64 along z");
    if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) refuse("the grid is too large");
    if (how.shared_bytes > device.shared_per_block)
        refuse("a block has at most ", device.shared_per_block, " bytes of shared memory");
    if (how.cluster == 0 || grid.x % how.cluster != 0) refuse("grid.x is no multiple of the cluster");
    if (how.cluster > 1 && (device.major < 9 || int(how.cluster) > device.largest_cluster))
        refuse("clusters of at most ", device.major < 9 ? 1 : device.largest_cluster);
    if (how.cooperative && std::int64_t(grid.x) * grid.y * grid.z > resident_blocks(how))
        refuse("only ", resident_blocks(how), " such blocks are resident at once");
}

int resident_blocks(const gpu::Launch& how) {
    const gpu::Device& device = emulated_device;
    constexpr std::size_t reserved = 1 << 10;  // shared memory that every block takes besides its own
    const std::uint64_t threads = std::uint64_t(how.block.x) * how.block.y * how.block.z;
    if (threads == 0 || threads > 1024 || how.shared_bytes > device.shared_per_block) return 0;
    if (how.cluster == 0 ||
        (how.cluster > 1 && (device.major < 9 || int(how.cluster) > device.largest_cluster)))
        return 0;
    const std::uint64_t by_threads = 2048 / ((threads + 31) / 32 * 32),
                        by_memory = (device.shared_per_block + reserved) / (how.shared_bytes + reserved);
    const int each = int(std::min({by_threads, by_memory, std::uint64_t(32)})), cluster = int(how.cluster);
    if (processor_groups.empty()) return each * device.multiprocessors / cluster * cluster;
    int blocks = 0;
    for (const int processors : processor_groups) blocks += each * processors / cluster * cluster;
    return blocks;
}

void launch(gpu::Stream stream, const gpu::Launch& how, std::function<void()> thread) {
    check_launch(how);
    enqueue(stream, [how, name = std::string(how.name), thread = std::move(thread)] {
        gpu::Launch kept = how;
        kept.name = name.c_str();
        launched_kernels.insert(name);
        run(kept, thread);
    });
}

}  // namespace emulation

namespace gpu {

std::string unavailable() { return ""; }
const Device& device() { return emulated_device; }

Stream make_stream() { return {new Queue}; }
void release_stream(Stream stream) noexcept { delete static_cast<Queue*>(stream.handle); }

void synchronise(Stream) {
    const std::lock_guard lock(turn);
    refuse_while_recording("synchronise");
}

void* allocate(std::size_t bytes) {
    const std::lock_guard lock(turn);
    refuse_while_recording("allocate");
    if (bytes > memory_free()) fail(emulated_device.name, ": no ", bytes, " bytes left, but ", memory_free());
    void* memory = device_memory.allocate(bytes);
    if (accesses == 0) emulation::forbid_access(memory, bytes);
    return memory;
}
void release(void* memory) noexcept {
    const std::lock_guard lock(turn);
    if (memory != nullptr) device_memory.release(memory);
}
void* allocate_pinned(std::size_t bytes) {
    const std::lock_guard lock(turn);
    refuse_while_recording("allocate_pinned");
    return pinned_memory.allocate(bytes);
}
void release_pinned(void* memory) noexcept {
    const std::lock_guard lock(turn);
    if (memory != nullptr) pinned_memory.release(memory);
}
std::size_t memory_in_use() {
    const std::lock_guard lock(turn);
    return device_memory.bytes();
}
std::size_t memory_free() {
    const std::lock_guard lock(turn);
    return emulated_device.memory - std::min(emulated_device.memory, device_memory.bytes());
}

void copy(Stream stream, void* to, const void* from, std::size_t bytes) {
    const std::lock_guard lock(turn);
    if (bytes == 0) return;
    for (const void* end : {static_cast<const void*>(to), from}) {
        if (device_memory.room(end, 0) != Room::elsewhere)
            check_device_memory("copy", end, bytes);
        else if (recording_queue != nullptr && pinned_memory.room(end, bytes) != Room::enough)
            fail("copy of host memory that is not pinned while work is recorded: it would be read at replay");
    }
    emulation::enqueue(stream, [=] { std::memmove(to, from, bytes); });
}

void fill(Stream stream, void* memory, int byte, std::size_t bytes) {
    const std::lock_guard lock(turn);
    if (bytes == 0) return;
    check_device_memory("fill", memory, bytes);
    emulation::enqueue(stream, [=] { std::memset(memory, byte, bytes); });
}

double time(Stream, const std::function<void()>& work, int warm_up, int repeat) {
    refuse_while_recording("time");
    std::vector<double> seconds;
    for (int i = 0; i < warm_up + repeat; ++i) {
        const auto start = std::chrono::steady_clock::now();
        work();
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        if (i >= warm_up) seconds.push_back(taken.count());
    }
    if (seconds.empty()) fail("time of no runs");
    const auto middle = seconds.begin() + std::ptrdiff_t(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    return *middle;
}

namespace {

class RecordedWork : public Graph {
  public:
    explicit RecordedWork(std::vector<Work> works) : works_(std::move(works)) {}
    void launch(Stream stream) override {
        refuse_while_recording("replay");
        emulation::enqueue(stream, [this] {
            for (const Work& work : works_) work();
        });
    }
    std::size_t nodes() const override { return works_.size(); }

  private:
    std::vector<Work> works_;
};

}  // namespace

std::unique_ptr<Graph> record(Stream stream, const std::function<void()>& work) {
    const std::lock_guard lock(turn);
    refuse_while_recording("record");
    auto* queue = static_cast<Queue*>(stream.handle);
    if (queue == nullptr) fail("record needs a stream from make_stream()");
    std::vector<Work> works;
    struct Recording {  // ends however `work` does
        Queue* queue;
        ~Recording() {
            queue->recording = nullptr;
            recording_queue = nullptr;
        }
    };
    {
        const Recording recording{queue};
        queue->recording = &works;
        recording_queue = queue;
        work();
    }
    return std::make_unique<RecordedWork>(std::move(works));
}

}  // namespace gpu
}  // namespace tvmap
