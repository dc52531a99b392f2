// What the program is and runs on.
#include "apps/program/machine.h"

#include <unistd.h>

#include "engine/pictures/image.h"
#include "kernels/backend.h"
#include "kernels/base/simd.h"
#include "kernels/convolution/convolution.h"
#include "kernels/machine_peak.h"
#include "kernels/threads/threads.h"

namespace tvmap {
namespace {

#if defined(__clang__)
constexpr const char* compiler = "clang++ " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* compiler = "g++ " __VERSION__;
#else
constexpr const char* compiler = "unknown";
#endif

}  // namespace

Json machine_facts(const CommonOptions& common) {
    const double gibibytes = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE)) / (1 << 30);
    return {{"version", TVMAP_VERSION},
            {"processor", cpu::processor_name()},
            {"instruction_set", cpu::instruction_set()},
            {"threads", thread_count()},
            {"threads_from", common.threads_from},
            {"memory_gib", gibibytes},
            {"onednn", cpu::onednn_version()},
            {"bf16", cpu::bf16_instructions()},
            {"compiler", compiler},
            {"tiff", tiff_status()},
            {"dicom", dicom_status()},
            {"cuda_backend", cuda_status()}};
}

}  // namespace tvmap
