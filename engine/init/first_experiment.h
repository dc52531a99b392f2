// A first experiment on somebody's own pictures: which of them train, validate and test, and a configuration that
// fits them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/init/picture_survey.h"

namespace tvmap {

/// What pictures need for the recipe: so many of them to learn from, and no side below this (crops get no smaller).
inline constexpr int least_pictures = 10, least_picture_side = 32;
/// Above this share of white, pictures that stand for clean ones are noisy themselves.
inline constexpr double visible_noise = 0.02;

/// Least, median and greatest; for an even number the median is the mean of the two in the middle.
struct Spread {
    double least = 0, median = 0, greatest = 0;
};
Spread spread(std::vector<double> values);

/// Pictures that the user has set aside for a part, or none.
struct GivenPart {
    std::string folder;  ///< absolute; "" where there is none
    PictureSurvey survey;
};

struct FirstExperimentRequest {
    GivenPart train;      ///< also what is divided
    GivenPart val, test;  ///< parts without a folder are divided off
    std::string out;      ///< absolute path of the configuration
    std::uint64_t seed = 42;
    std::uint64_t picture_limit = usual_picture_limit;  ///< bytes, with which the pictures were read
};

/// A list of a part's pictures, to stand beside the configuration.
struct PictureList {
    std::string part, path, content;
};

struct FirstExperiment {
    Config config;
    std::string yaml;                  ///< with a comment on every line; read_config gives `config`
    std::vector<PictureList> lists;    ///< of parts that are not the whole of a folder
    bool divided = false;              ///< by chance; else every part has a folder of its own
    int train = 0, val = 0, test = 0;  ///< pictures
    int steps_per_epoch = 0;
    Spread noise;  ///< of all pictures
};

/// The paths of the lists that first_experiment may make for a configuration's path.
std::vector<std::string> picture_list_paths(const std::string& out);

/// The same pictures and seed give the same files. Throws Error where there are too few pictures (it says what to do
/// instead), and where a picture's path cannot stand in a list.
FirstExperiment first_experiment(const FirstExperimentRequest& request);

}  // namespace tvmap
