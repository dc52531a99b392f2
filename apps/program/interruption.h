// How the user ends the program.
#pragma once
#include <atomic>

namespace tvmap {

/// Set by the first Ctrl-C (or SIGTERM) from the first call on; the second one ends the process at once.
const std::atomic<bool>& interrupted();

}  // namespace tvmap
