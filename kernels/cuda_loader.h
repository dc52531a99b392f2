// The CUDA backend is a library of its own, libtvmap_cuda.so, opened at run time: one program runs with and
// without a GPU. It is looked for in the file that the environment variable TVMAP_CUDA_BACKEND names; else
// beside the program, in lib/ below it, and in ../lib.
#pragma once
#include <memory>
#include <string>

#include "kernels/backend.h"

namespace tvmap {

/// What the library shows, through `extern "C" const CudaLibrary* tvmap_cuda_library()`.
struct CudaLibrary {
    const char* interface;  ///< version and a hash of the headers of kernels/: program and library must agree
    /// Empty where the backend can be used, else why not in one line.
    std::string (*unavailable)();
    /// The device and the versions of what it runs on, in one line.
    std::string (*description)();
    std::unique_ptr<Backend> (*open)(const std::string& precision);
};

/// Empty where the CUDA backend can be opened; else what is missing, in one line.
std::string cuda_unavailable();

/// Throws Error where cuda_unavailable() has something to say.
std::unique_ptr<Backend> open_cuda_backend(const std::string& precision);

}  // namespace tvmap
