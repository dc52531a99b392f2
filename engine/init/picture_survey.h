// What a set of pictures is like, before anything is trained on it.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/data/image_list.h"

namespace tvmap {

/// A picture that can be trained on. Its numbers are of its grey values, white being 1.
struct SurveyedPicture {
    std::string path;
    int height = 0, width = 0;
    int channels = 1;      ///< 1 (grey) or 3 (colour)
    int bits = 8;          ///< of a sample in its file
    double deviation = 0;  ///< standard deviation (N−1)
    double noise = 0;      ///< estimate_noise
};

struct PictureSurvey {
    std::vector<SurveyedPicture> pictures;  ///< in the order of the list
    std::vector<std::string>
        left_out;  ///< why each of the others cannot be trained on: its path and the reason
};

/// Reads all pictures of the list, in parallel, within `picture_limit` bytes all together. Left out are those that cannot
/// be read, have real numbers beyond 0 … 1, a side below `least_side` (3 or more), or the same value everywhere.
/// `proceed` hears how many were read, from one thread at a time; where it says false, Interrupted is thrown.
PictureSurvey survey_pictures(const std::vector<ListedImage>& listed, int least_side,
                              std::uint64_t picture_limit, const std::function<bool(int)>& proceed);

}  // namespace tvmap
