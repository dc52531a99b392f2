// tvmap evaluate as a part of other work.
#pragma once
#include <string>

#include "apps/program/command.h"

namespace tvmap {

/// What `tvmap evaluate RUN` does. Returns its exit code; throws what it throws.
int evaluate_run(const std::string& run, const CommonOptions& common);

}  // namespace tvmap
