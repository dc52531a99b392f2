#include "engine/process_memory.h"

#include <malloc.h>

#include <fstream>
#include <string>

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

void release_free_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void reset_peak_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace tvmap
