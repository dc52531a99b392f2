// tvmap info: devices, versions, what was built in.
#include <unistd.h>

#include "apps/command.h"
#include "engine/pictures/image.h"
#include "kernels/backend.h"
#include "kernels/base/simd.h"
#include "kernels/base/threads.h"
#include "kernels/convolution/convolution.h"
#include "kernels/machine_peak.h"

namespace tvmap {
namespace {

#if defined(__clang__)
constexpr const char* compiler = "clang++ " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* compiler = "g++ " __VERSION__;
#else
constexpr const char* compiler = "unknown";
#endif

int run(const CommonOptions& common) {
    const double gibibytes = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE)) / (1 << 30);
    const std::string set = cpu::instruction_set(), bf16 = cpu::bf16_instructions();
    const Json json{{"command", "info"},
                    {"version", TVMAP_VERSION},
                    {"processor", cpu::processor_name()},
                    {"instruction_set", set},
                    {"threads", thread_count()},
                    {"threads_from", common.threads_from},
                    {"memory_gib", gibibytes},
                    {"onednn", cpu::onednn_version()},
                    {"bf16", bf16},
                    {"compiler", compiler},
                    {"tiff", tiff_status()},
                    {"dicom", dicom_status()},
                    {"cuda_backend", cuda_status()}};
    print_result(
        common, json,
        text("tvmap            ", TVMAP_VERSION, "\nprocessor        ", cpu::processor_name(),
             "\ninstruction set  ", set, "\nthreads          ", thread_count(), " (", common.threads_from,
             ")\nmemory           ", number(gibibytes, 4), " GiB\noneDNN           ", cpu::onednn_version(),
             "\nbf16             ", bf16.empty() ? "not on this processor" : "by " + bf16,
             "\ncompiler         ", compiler, "\nTIFF             ", tiff_status(), "\nDICOM            ",
             dicom_status(), "\nCUDA backend     ", cuda_status(), "\n"));
    return success;
}

}  // namespace

void add_info(Program& program) {
    program.add("info", "devices, versions, what was built in", "tvmap info --json", run);
}

}  // namespace tvmap
