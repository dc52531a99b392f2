#include "apps/options/trained_weights.h"

#include <algorithm>

#include "kernels/convolution/convolution.h"
#include "kernels/cuda_loader.h"

namespace tvmap {

std::unique_ptr<Backend> backend_for_weights(Config& config, const CommonOptions& common,
                                             const std::vector<std::string>& set) {
    const auto asked = [&](const std::string& key) {
        return std::any_of(set.begin(), set.end(),
                           [&](const std::string& value) { return value.starts_with(key + "="); });
    };
    const bool gpu = cuda_unavailable().empty();
    if (common.device != "auto")
        config.device = common.device;
    else if (config.device == "cuda" && !gpu && !asked("device"))
        config.device = "auto";

    const bool on_cpu = config.device == "cpu" || (config.device == "auto" && !gpu);
    std::string& precision = config.network.precision;
    const bool possible = precision == "fp32" || (precision == "bf16" && !cpu::bf16_instructions().empty());
    if (on_cpu && !possible && !asked("network.precision")) precision = "fp32";
    return make_backend(config.device, precision);
}

}  // namespace tvmap
