// The share of processor time that control groups grant a process, on Linux.
#pragma once
#include <string>

namespace tvmap {

/// In processors, e.g. 0.5: the least that this process's control groups, of either version, and all that
/// they lie in allow. Infinity where none of them sets a quota or the system does not tell. `root` stands
/// before every path that is read, for tests. Any thread may ask.
double cpu_quota(const std::string& root = "");

}  // namespace tvmap
