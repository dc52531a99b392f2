// A set of images, prepared once and kept in memory at their own bit depth, up to 16.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/pictures/picture_limit.h"

namespace tvmap {

/// How many images a training run has.
struct ImageCounts {
    int train = 0, val = 0;
};

/// Square grey images in the order of list_images. Does not change: threads may share it.
class Dataset {
  public:
    /// Reads at most `limit` pictures of `folder`, which may be a list or a pattern too: see list_images. Throws Error
    /// for a missing or empty folder, for two pictures of one name, and for a picture that cannot be read, has real
    /// numbers beyond 0 … 1 or a side below `least_side` (what the network can halve). `key` is the configuration's key that gave the folder, like
    /// data.train: it opens the messages on the folder. Pictures are read in parallel, within `picture_limit` bytes
    /// all together; see PictureReader.
    Dataset(const std::string& folder, int size, int limit, const std::string& key = "", int least_side = 8,
            std::uint64_t picture_limit = usual_picture_limit);

    int count() const { return int(names_.size()); }
    int size() const { return size_; }
    const std::string& name(int image) const { return names_[image]; }  ///< see ListedImage

    /// The standard deviation (N−1) of the whole image, in double.
    double deviation(int image) const { return deviations_[image]; }

    /// Number, size and a hash of the samples, image by image: the same for the same images, whatever their folder,
    /// names and bit depth.
    std::string digest() const;

    /// Copies the square of `side` whose upper left corner is (top, left), mirrored left-right if asked, as
    /// floats in [0, 1].
    void copy(int image, int top, int left, int side, bool mirror, float* out) const;

    /// Copies the whole image.
    void copy(int image, float* out) const { copy(image, 0, 0, size_, false, out); }

    /// Bytes held.
    std::size_t bytes() const;

  private:
    int size_ = 0;
    int bytes_per_pixel_ = 1;
    std::vector<std::string> names_;
    std::vector<double> deviations_;
    std::vector<std::uint8_t> pixels_;
};

}  // namespace tvmap
