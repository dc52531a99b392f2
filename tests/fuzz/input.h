// What the fuzzers share: bytes as a file, and what a reader may answer.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels/base/error.h"

namespace tvmap::fuzz {

/// A file in memory. Readers take paths.
class InputFile {
  public:
    InputFile(const std::uint8_t* data, std::size_t size) : descriptor_(memfd_create("input", 0)) {
        if (descriptor_ < 0 || write(descriptor_, data, size) != ssize_t(size)) {
            std::perror("no file in memory");
            std::abort();
        }
    }
    ~InputFile() { close(descriptor_); }
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;

    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

  private:
    int descriptor_;
};

/// Fails the run: the fuzzer keeps the input and says where it was.
inline void demand(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

/// Calls `read`, which may refuse its input by one line, an Error, and must not end in any other way.
template <class Read>
void may_refuse(const Read& read) {
    try {
        read();
    } catch (const Error& error) {
        demand(error.what()[0] != '\0', "a refusal says why");
    }
}

}  // namespace tvmap::fuzz
