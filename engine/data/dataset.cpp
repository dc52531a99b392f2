// Pictures, read in parallel, prepared, and kept as 8-bit samples, or as 16-bit ones where any
// picture has more than 8 bits. Sample v stands for v / 255 or v / 65535, whichever is kept: 257·v / 65535 is
// the same float.
#include "engine/data/dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>

#include "engine/data/image_list.h"
#include "engine/pictures/image.h"
#include "kernels/base/error.h"
#include "kernels/training/square.h"

namespace tvmap {
namespace {

/// The standard deviation (N−1) of samples / levels. Two passes: the mean is exact, and no large squares
/// cancel.
template <class T>
double deviation_of(const T* samples, std::size_t count, double levels) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += samples[i];
    const double mean = double(sum) / double(count);
    double squares = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const double difference = samples[i] - mean;
        squares += difference * difference;
    }
    return std::sqrt(squares / double(count - 1)) / levels;
}

}  // namespace

Dataset::Dataset(const std::string& folder, int size, int limit, const std::string& key, int least_side,
                 std::uint64_t picture_limit)
    : size_(size) {
    const std::string place = key.empty() ? "" : key + ": ";
    least_side = std::max(least_side, 2);  // a single pixel has no standard deviation
    if (size < least_side)
        fail(place, "images of ", size, "×", size,
             " are too small for the network; choose a size of at least ", least_side);
    if (limit < 1) fail(place, "a limit of ", limit, " images for ", folder, "; choose at least 1");
    const std::vector<ListedImage> listed = list_images(folder, limit, place);
    const int images = int(listed.size());
    const std::size_t pixels = std::size_t(size) * size;

    names_.resize(images);
    deviations_.resize(images);
    pixels_.resize(images * pixels);
    std::vector<std::vector<std::uint16_t>> wide(images);  // of the 16-bit pictures alone
    PictureReader reader(picture_limit);
    std::exception_ptr failure;
    int failed = images;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < images; ++i) {
        try {
            reader.read(listed[i].path, [&](Picture picture) {
                if (std::min(picture.height, picture.width) < least_side)
                    fail(listed[i].path, ": a picture of ", picture.height, "×", picture.width,
                         " pixels is too small for the network, which halves its image to no less than a "
                         "pixel; "
                         "both sides must be at least ",
                         least_side);
                check_unit_range(listed[i].path, picture);
                const Picture square = prepare(std::move(picture), size);
                if (square.bits == 16) {
                    wide[i].resize(pixels);
                    for (std::size_t k = 0; k < pixels; ++k)
                        wide[i][k] = std::uint16_t(std::lround(square.values[k] * 65535.0f));
                } else {
                    for (std::size_t k = 0; k < pixels; ++k)
                        pixels_[i * pixels + k] = std::uint8_t(std::lround(square.values[k] * 255.0f));
                }
            });
            names_[i] = listed[i].name;
        } catch (...) {
            // Always the first of the list, so that the message does not depend on the threads' order.
#pragma omp critical(tvmap_dataset)
            if (i < failed) {
                failed = i;
                failure = std::current_exception();
            }
        }
    }
    if (failure) std::rethrow_exception(failure);

    if (std::any_of(wide.begin(), wide.end(), [](const auto& samples) { return !samples.empty(); })) {
        std::vector<std::uint8_t> narrow(2 * images * pixels);
        narrow.swap(pixels_);
        bytes_per_pixel_ = 2;
        auto* samples = reinterpret_cast<std::uint16_t*>(pixels_.data());
        for (int i = 0; i < images; ++i)
            for (std::size_t k = 0; k < pixels; ++k)
                samples[i * pixels + k] =
                    wide[i].empty() ? std::uint16_t(257 * narrow[i * pixels + k]) : wide[i][k];
    }
    for (int i = 0; i < images; ++i) {
        const std::uint8_t* image = pixels_.data() + i * pixels * bytes_per_pixel_;
        deviations_[i] = bytes_per_pixel_ == 1
                             ? deviation_of(image, pixels, 255)
                             : deviation_of(reinterpret_cast<const std::uint16_t*>(image), pixels, 65535);
    }
}

void Dataset::copy(int image, int top, int left, int side, bool mirror, float* out) const {
    if (image < 0 || image >= count() || top < 0 || left < 0 || side < 1 || side > size_ - top ||
        side > size_ - left)
        fail("a square of side ", side, " at (", top, ", ", left, ") of image ", image, " reaches out of ",
             count(), " images of ", size_, "×", size_, "; choose one inside");
    const std::uint8_t* first = pixels_.data() + std::size_t(image) * size_ * size_ * bytes_per_pixel_;
    if (bytes_per_pixel_ == 1)
        copy_square(first, size_, top, left, side, mirror, 255.0f, out);
    else
        copy_square(reinterpret_cast<const std::uint16_t*>(first), size_, top, left, side, mirror, 65535.0f,
                    out);
}

// FNV-1a over the samples as 16-bit ones.
std::string Dataset::digest() const {
    std::uint64_t hash = 0xcbf29ce484222325u;
    const auto add = [&](std::uint16_t sample) { hash = (hash ^ sample) * 0x100000001b3u; };
    const auto* wide = reinterpret_cast<const std::uint16_t*>(pixels_.data());
    if (bytes_per_pixel_ == 1)
        for (const std::uint8_t sample : pixels_) add(std::uint16_t(257 * sample));
    else
        for (std::size_t i = 0; i < pixels_.size() / 2; ++i) add(wide[i]);
    return text(count(), " images of ", size_, "x", size_, ", ", std::hex, hash);
}

std::size_t Dataset::bytes() const { return pixels_.size(); }

}  // namespace tvmap
