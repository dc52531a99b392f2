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

/// A picture's values as samples of its own depth.
std::vector<std::uint8_t> samples_of(const Picture& picture) {
    const std::size_t pixels = picture.values.size();
    std::vector<std::uint8_t> samples(picture.bits == 16 ? 2 * pixels : pixels);
    auto* wide = reinterpret_cast<std::uint16_t*>(samples.data());
    for (std::size_t k = 0; k < pixels; ++k)
        if (picture.bits == 16)
            wide[k] = std::uint16_t(std::lround(picture.values[k] * 65535.0f));
        else
            samples[k] = std::uint8_t(std::lround(picture.values[k] * 255.0f));
    return samples;
}

/// 8-bit samples become 16-bit ones.
void widen(std::vector<std::uint8_t>& samples) {
    std::vector<std::uint8_t> twice(2 * samples.size());
    auto* wide = reinterpret_cast<std::uint16_t*>(twice.data());
    for (std::size_t k = 0; k < samples.size(); ++k) wide[k] = std::uint16_t(257 * samples[k]);
    samples = std::move(twice);
}

}  // namespace

Dataset::Dataset(const std::string& folder, int size, int limit, const std::string& key, int least_side,
                 std::uint64_t picture_limit, Preparation preparation)
    : size_(preparation == Preparation::none ? 0 : size) {
    const std::string place = key.empty() ? "" : key + ": ";
    least_side = std::max(least_side, 2);  // a single pixel has no standard deviation
    if (preparation != Preparation::none && size < least_side)
        fail(place, "images of ", size, "×", size,
             " are too small for the network; choose a size of at least ", least_side);
    if (limit < 1) fail(place, "a limit of ", limit, " images for ", folder, "; choose at least 1");
    const std::vector<ListedImage> listed = list_images(folder, limit, place);
    const int images = int(listed.size());

    names_.resize(images);
    deviations_.resize(images);
    images_.resize(images);
    std::vector<char> wide(images);  // whether a picture has 16 bits
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
                         "pixel, or for crops; both sides must be at least ",
                         least_side);
                if (preparation == Preparation::centre && std::min(picture.height, picture.width) < size)
                    fail(listed[i].path, ": a picture of ", picture.height, "×", picture.width,
                         " pixels, of which the centre of ", size, "×", size,
                         " is wanted; choose a smaller data.size");
                check_unit_range(listed[i].path, picture);
                const Picture prepared = preparation == Preparation::square
                                             ? prepare(std::move(picture), size)
                                             : prepare_unresized(std::move(picture), size_);
                wide[i] = prepared.bits == 16;
                images_[i] = {prepared.height, prepared.width, samples_of(prepared)};
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

    if (std::find(wide.begin(), wide.end(), 1) != wide.end()) {
        bytes_per_pixel_ = 2;
        for (int i = 0; i < images; ++i)
            if (!wide[i]) widen(images_[i].samples);
    }
    for (int i = 0; i < images; ++i) {
        const std::uint8_t* samples = images_[i].samples.data();
        deviations_[i] = bytes_per_pixel_ == 1 ? deviation_of(samples, pixels(i), 255)
                                               : deviation_of(reinterpret_cast<const std::uint16_t*>(samples),
                                                              pixels(i), 65535);
    }
}

void Dataset::copy(int image, int top, int left, int side, bool mirror, float* out, int quarters) const {
    if (image < 0 || image >= count() || top < 0 || left < 0 || side < 1 || side > height(image) - top ||
        side > width(image) - left)
        fail("a square of side ", side, " at (", top, ", ", left, ") of image ", image, " reaches out of ",
             count(), " images", size_ ? text(" of ", size_, "×", size_) : "", "; choose one inside");
    const std::uint8_t* samples = images_[image].samples.data();
    if (bytes_per_pixel_ == 1)
        copy_square(samples, width(image), top, left, side, mirror, quarters, 255.0f, out);
    else
        copy_square(reinterpret_cast<const std::uint16_t*>(samples), width(image), top, left, side, mirror,
                    quarters, 65535.0f, out);
}

void Dataset::copy(int image, float* out) const {
    const std::uint8_t* samples = images_[image].samples.data();
    const auto* wide = reinterpret_cast<const std::uint16_t*>(samples);
    for (std::int64_t k = 0; k < pixels(image); ++k)
        out[k] = bytes_per_pixel_ == 1 ? float(samples[k]) / 255.0f : float(wide[k]) / 65535.0f;
}

// FNV-1a over the samples as 16-bit ones.
std::string Dataset::digest() const {
    std::uint64_t hash = 0xcbf29ce484222325u;
    const auto add = [&](std::uint16_t sample) { hash = (hash ^ sample) * 0x100000001b3u; };
    for (int image = 0; image < count(); ++image) {
        if (size_ == 0) {
            add(std::uint16_t(height(image)));
            add(std::uint16_t(width(image)));
        }
        const std::uint8_t* samples = images_[image].samples.data();
        const auto* wide = reinterpret_cast<const std::uint16_t*>(samples);
        for (std::int64_t k = 0; k < pixels(image); ++k)
            add(bytes_per_pixel_ == 1 ? std::uint16_t(257 * samples[k]) : wide[k]);
    }
    return text(count(), " images of ", size_ ? text(size_, "x", size_) : "their own sizes", ", ", std::hex,
                hash);
}

std::size_t Dataset::bytes() const {
    std::size_t sum = 0;
    for (const Image& image : images_) sum += image.samples.size();
    return sum;
}

}  // namespace tvmap
