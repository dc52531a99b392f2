// What the program is and runs on.
#pragma once
#include "apps/program/command.h"

namespace tvmap {

/// Versions, processor, memory, what was built in: by key, as `tvmap info --json` has them.
Json machine_facts(const CommonOptions& common);

}  // namespace tvmap
