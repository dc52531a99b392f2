#include "kernels/cuda_loader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

constexpr char file_name[] = "libtvmap_cuda.so";

/// Where the library may lie, in the order of preference.
std::vector<fs::path> candidates() {
    if (const char* named = std::getenv("TVMAP_CUDA_BACKEND"); named && *named) return {named};
    std::error_code unreadable;
    const fs::path folder = fs::read_symlink("/proc/self/exe", unreadable).parent_path();
    if (unreadable) return {};
    return {folder / file_name, folder / "lib" / file_name, folder / ".." / "lib" / file_name};
}

struct Opened {
    const CudaLibrary* library = nullptr;
    std::string problem;  ///< why there is none
};

Opened open_library() {
    for (const fs::path& path : candidates()) {
        std::error_code ignored;
        if (!fs::exists(path, ignored)) {
            if (std::getenv("TVMAP_CUDA_BACKEND"))
                return {nullptr, text("TVMAP_CUDA_BACKEND names ", path.string(), ", which does not exist")};
            continue;
        }
        void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays open as long as the program
        if (!handle) {
            const char* const why = dlerror();
            return {nullptr, text("cannot be opened: ", why ? why : "no reason given")};
        }
        const auto entry = reinterpret_cast<const CudaLibrary* (*)()>(dlsym(handle, "tvmap_cuda_library"));
        if (!entry) return {nullptr, text(path.string(), " is not a CUDA backend of tvmap")};
        const CudaLibrary* library = entry();
        if (std::strcmp(library->interface, TVMAP_INTERFACE) != 0)
            return {nullptr, text(path.string(), " is of version ", library->interface, ", the program of ",
                                  TVMAP_INTERFACE, ": build both together")};
        return {library, ""};
    }
    return {nullptr, text("not built in (no ", file_name, " beside the program)")};
}

const Opened& opened() {
    static const Opened result = open_library();
    return result;
}

}  // namespace

std::string cuda_unavailable() {
    if (!opened().library) return opened().problem;
    static const std::string problem = opened().library->unavailable();
    return problem;
}

std::string cuda_status() {
    const std::string problem = cuda_unavailable();
    return problem.empty() ? opened().library->description() : problem;
}

std::unique_ptr<Backend> open_cuda_backend(const std::string& precision) {
    const std::string problem = cuda_unavailable();
    if (!problem.empty()) fail("device: cuda: ", problem, "; use device: cpu or auto");
    return opened().library->open(precision);
}

}  // namespace tvmap
