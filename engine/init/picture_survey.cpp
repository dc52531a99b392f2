#include "engine/init/picture_survey.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <utility>

#include "engine/data/noise_estimate.h"
#include "engine/pictures/image.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// Two passes: no large squares cancel.
double deviation_of(const std::vector<float>& values) {
    double sum = 0, squares = 0;
    for (const float value : values) sum += value;
    const double mean = sum / double(values.size());
    for (const float value : values) squares += (value - mean) * (value - mean);
    return std::sqrt(squares / double(values.size() - 1));
}

SurveyedPicture surveyed(const std::string& path, Picture picture, int least_side) {
    if (std::min(picture.height, picture.width) < least_side)
        fail(path, ": a picture of ", picture.height, "×", picture.width,
             " pixels is too small; both sides must be at least ", least_side);
    check_unit_range(path, picture);
    SurveyedPicture found{path, picture.height, picture.width, picture.channels, picture.bits, 0, 0};
    const std::vector<float> grey = to_grey(std::move(picture)).values;
    const auto [least, greatest] = std::minmax_element(grey.begin(), grey.end());
    if (*least == *greatest)
        fail(path, ": every pixel has the same value; there is nothing to learn from it");
    found.deviation = deviation_of(grey);
    found.noise = estimate_noise(grey.data(), found.height, found.width);
    return found;
}

}  // namespace

PictureSurvey survey_pictures(const std::vector<ListedImage>& listed, int least_side,
                              std::uint64_t picture_limit, const std::function<bool(int)>& proceed) {
    const int count = int(listed.size());
    std::vector<SurveyedPicture> pictures(listed.size());
    std::vector<std::string> refusals(listed.size());
    PictureReader reader(picture_limit);
    std::atomic<bool> stopped{false};
    std::exception_ptr failure;  // of the machine, not of a picture
    int read = 0;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < count; ++i) {
        if (stopped) continue;
        try {
            reader.read(listed[i].path, [&](Picture picture) {
                pictures[i] = surveyed(listed[i].path, std::move(picture), least_side);
            });
        } catch (const Error& error) {
            refusals[i] = error.what();
        } catch (...) {
#pragma omp critical(tvmap_survey)
            failure = std::current_exception();
            stopped = true;
        }
#pragma omp critical(tvmap_survey)
        if (!proceed(++read)) stopped = true;
    }
    if (failure) std::rethrow_exception(failure);
    if (stopped) throw Interrupted(text("interrupted after ", read, " of ", count, " pictures"));

    PictureSurvey survey;
    for (int i = 0; i < count; ++i)
        if (refusals[i].empty())
            survey.pictures.push_back(std::move(pictures[i]));
        else
            survey.left_out.push_back(std::move(refusals[i]));
    return survey;
}

}  // namespace tvmap
