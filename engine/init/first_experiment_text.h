// A first experiment as YAML that explains itself. For engine/init/first_experiment.cpp alone.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "engine/init/first_experiment.h"

namespace tvmap {

/// The configuration, with a comment on every line, on what `pictures` (all that are used) are like; `left_out`: how
/// many others there are.
std::string experiment_text(const FirstExperiment& experiment, const std::vector<SurveyedPicture>& pictures,
                            std::size_t left_out);

}  // namespace tvmap
