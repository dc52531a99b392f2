// main() of the tests of CUDA kernels. Emulated: TVMAP_SEED sets the order of threads (1 unless given), and
// the names of the kernels that were compared are written to $TVMAP_KERNEL_RECORD/PROGRAM.txt. On a GPU:
// skipped (77) where there is none.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "kernels/gpu/gpu_runtime.h"
#ifdef TVMAP_EMULATED
#include "kernels/emulation/control.h"
#endif

int main(int argc, char** argv) {
    if (const std::string reason = tvmap::gpu::unavailable(); !reason.empty()) {
        std::printf("SKIPPED: %s\n", reason.c_str());
        return 77;
    }
#ifdef TVMAP_EMULATED
    const char* seed = std::getenv("TVMAP_SEED");
    tvmap::emulation::set_seed(seed != nullptr ? unsigned(std::strtoul(seed, nullptr, 10)) : 1);
#endif
    const int result = doctest::Context(argc, argv).run();
#ifdef TVMAP_EMULATED
    if (const char* folder = std::getenv("TVMAP_KERNEL_RECORD")) {
        namespace fs = std::filesystem;
        fs::create_directories(folder);
        const fs::path file = fs::path(folder) / (fs::path(argv[0]).filename().string() + ".txt");
        std::ofstream record(file);
        for (const std::string& kernel : tvmap::emulation::compared()) record << kernel << '\n';
        if (!record.flush()) {
            std::fprintf(stderr, "cannot write %s\n", file.c_str());
            return 1;
        }
    }
#endif
    return result;
}
