#include "apps/options/image_options.h"

#include <algorithm>

#include "apps/options/arrays.h"
#include "apps/program/warning.h"
#include "engine/files/byte_count.h"

namespace tvmap {

void ImageOptions::add_peak(CLI::App& command) {
    given_ =
        add_number(command, "--peak", peak,
                   "white in .npy arrays and float TIFFs, like 255: they are divided by it when read and "
                   "multiplied when written, so that λ, PSNR, SSIM and MSE mean what they do for pictures",
                   1e-30, 1e30);
}

void ImageOptions::add(CLI::App& command) {
    add_peak(command);
    add_limit(command);
}

void ImageOptions::add_limit(CLI::App& command) {
    const auto take = [this](const std::string& given) {
        const auto bytes = parse_byte_count(given);
        if (!bytes) throw CLI::ValidationError(text("--picture-limit ", given, ": give ", byte_count_form));
        picture_limit = *bytes;
    };
    command
        .add_option_function<std::string>(
            "--picture-limit", take,
            "bytes that reading a picture may take, also like 250MB or 2GiB; 0: no limit")
        ->type_name("BYTES")
        ->default_str("1GiB");
}

void ImageOptions::warn(const std::string& command, const std::string& path, const InputImages& images,
                        double beyond) const {
    if (images.pages > 1)
        print_warning(command, text(path, ": the first of ", images.pages, " pages is taken"));
    const std::vector<float>& values = images.values;
    if (given_->count() > 0 || values.empty()) return;
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    if (*least >= -beyond && *most <= 1 + beyond) return;
    print_warning(command,
                  text(path, ": values from ", *least, " to ", *most,
                       " are taken as they are, and white for 1; give --peak with the value of white, like "
                       "255, or --peak 1 if this is meant"));
}

}  // namespace tvmap
