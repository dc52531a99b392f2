#include "kernels/base/kernel.h"

#include <cstring>
#include <vector>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

struct Version {
    KernelId kernel;
    AnyFunction function;
};

/// Made by the first that is given, which may be before main().
std::vector<Version>& versions() {
    static std::vector<Version> all;
    return all;
}

/// By name: libraries opened at run time have type_info objects of their own.
bool same_arguments(const KernelId& a, const KernelId& b) {
    return std::strcmp(a.arguments->name(), b.arguments->name()) == 0;
}

/// The version that a backend of a GPU has. Throws Error where it has none.
AnyFunction required(const KernelQueue& backend, const KernelId& kernel, const std::string& user) {
    const AnyFunction function = backend.cuda_version(kernel);
    if (!function)
        fail(user, "the kernel '", kernel.name,
             "' has no CUDA version in this library; add its .cu file, or use "
             "device: cpu");
    return function;
}

}  // namespace

namespace detail {

AnyFunction cuda_version(const KernelId& kernel) {
    const Version* found = nullptr;
    for (const Version& version : versions()) {
        if (std::strcmp(version.kernel.name, kernel.name) != 0) continue;
        if (!same_arguments(version.kernel, kernel))
            fail("the kernel '", kernel.name,
                 "': its CUDA version takes other arguments; build both together, or give one "
                 "of two kernels another name");
        if (found && found->function != version.function)
            fail("the kernel '", kernel.name,
                 "' has two CUDA versions; give one of two kernels another name");
        found = &version;
    }
    return found ? found->function : nullptr;
}

void give_cuda_version(const KernelId& kernel, AnyFunction function) {
    versions().push_back({kernel, function});
}

Queued queued(const KernelQueue& backend, const KernelId& kernel) {
    const std::optional<gpu::Stream> stream = backend.stream();
    if (!stream) return {};
    return {required(backend, kernel, ""), *stream};
}

}  // namespace detail

void require_kernel(const KernelQueue& backend, const KernelId& kernel, const std::string& user) {
    if (backend.stream()) required(backend, kernel, user + ": ");
}

}  // namespace tvmap
