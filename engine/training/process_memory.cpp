#include "engine/training/process_memory.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

namespace tvmap {
namespace {

std::size_t status_bytes(const std::string& key) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
        if (word == key) {
            std::size_t kibibytes = 0;
            status >> kibibytes;
            return kibibytes * 1024;
        }
    return 0;
}

}  // namespace

std::size_t resident_bytes() { return status_bytes("VmRSS:"); }

std::size_t peak_resident_bytes() { return status_bytes("VmHWM:"); }

std::size_t resident_bytes(const void* memory, std::size_t bytes) {
    if (bytes == 0) return 0;
    const std::uintptr_t page = std::uintptr_t(sysconf(_SC_PAGESIZE));
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(memory), end = begin + bytes;
    const std::uintptr_t first = begin / page * page;
    std::vector<unsigned char> pages((end - first + page - 1) / page);
    if (mincore(reinterpret_cast<void*>(first), end - first, pages.data()) != 0) return 0;
    std::size_t resident = 0;
    for (std::size_t k = 0; k < pages.size(); ++k)
        if (pages[k] & 1) {
            const std::uintptr_t at = first + k * page;
            resident += std::min(end, at + page) - std::max(begin, at);
        }
    return resident;
}

void release_free_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void reset_peak_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace tvmap
