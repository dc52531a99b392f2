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

/// What becomes of a picture, besides grey.
enum class Preparation {
    square,  ///< its largest centred square, resized
    centre,  ///< its centre, as it is
    none,    ///< all of it, as it is
};

/// Grey images in the order of list_images. Does not change: threads may share it.
class Dataset {
  public:
    /// Reads at most `limit` pictures of `folder`, which may be a list or a pattern too (see list_images), and makes
    /// size×size images of them, or leaves them at their own sizes (Preparation::none). Throws Error for a missing or
    /// empty folder, for two pictures of one name, and for a picture that cannot be read, has real numbers beyond 0 … 1 or
    /// a side below `least_side` (what the network can halve, or crops are cut from) or, where its centre is taken, below
    /// `size`. `key` is the configuration's key that gave the folder, like
    /// data.train: it opens the messages on the folder. Pictures are read in parallel, within `picture_limit` bytes
    /// all together; see PictureReader.
    Dataset(const std::string& folder, int size, int limit, const std::string& key = "", int least_side = 8,
            std::uint64_t picture_limit = usual_picture_limit, Preparation preparation = Preparation::square);

    int count() const { return int(names_.size()); }
    int height(int image) const { return images_[image].height; }
    int width(int image) const { return images_[image].width; }
    std::int64_t pixels(int image) const { return std::int64_t(height(image)) * width(image); }
    /// Side of the images, 0 where they have their own sizes.
    int size() const { return size_; }
    const std::string& name(int image) const { return names_[image]; }  ///< see ListedImage

    /// The standard deviation (N−1) of the whole image, in double.
    double deviation(int image) const { return deviations_[image]; }

    /// Number, size and a hash of the samples (and of each size, where images have their own), image by image: the same
    /// for the same images, whatever their folder, names and bit depth.
    std::string digest() const;

    /// Copies the square of `side` whose upper left corner is (top, left), mirrored left-right if asked and then
    /// turned counterclockwise by so many quarters of a turn (0 to 3), as floats in [0, 1].
    void copy(int image, int top, int left, int side, bool mirror, float* out, int quarters = 0) const;

    /// Copies the whole image.
    void copy(int image, float* out) const;

    /// Bytes held.
    std::size_t bytes() const;

  private:
    struct Image {
        int height = 0, width = 0;
        std::vector<std::uint8_t> samples;  // one or two bytes each
    };

    int size_ = 0;
    std::vector<Image> images_;
    int bytes_per_pixel_ = 1;
    std::vector<std::string> names_;
    std::vector<double> deviations_;
};

}  // namespace tvmap
