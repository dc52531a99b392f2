#include "apps/image_options.h"

#include <algorithm>

#include "apps/warning.h"

namespace tvmap {

void ImageOptions::add(CLI::App& command) {
    given_ = command
                 .add_option(
                     "--peak", peak,
                     "white in .npy arrays, like 255: they are divided by it when read and multiplied when "
                     "written, so that λ, PSNR, SSIM and MSE mean what they do for pictures")
                 ->check([](const std::string& text) -> std::string {
                     double value = 0;
                     const bool number = CLI::detail::lexical_cast(text, value);
                     return number && value > 0 && value < 1e30
                                ? ""
                                : "--peak " + text + ": give a number above 0";
                 })
                 ->capture_default_str();
    command
        .add_option("--picture-limit", picture_limit,
                    "bytes that reading a picture may take, also like 250MB or 2GiB; 0: no limit")
        ->transform(CLI::AsSizeValue(true))
        ->default_str("1GiB");
}

void ImageOptions::warn(const std::string& command, const std::string& path, const std::vector<float>& values,
                        double beyond) const {
    if (given_->count() > 0 || values.empty()) return;
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    if (*least >= -beyond && *most <= 1 + beyond) return;
    print_warning(command,
                  text(path, ": values from ", *least, " to ", *most,
                       " are taken as they are, and white for 1; give --peak with the value of white, like "
                       "255, or --peak 1 if this is meant"));
}

}  // namespace tvmap
