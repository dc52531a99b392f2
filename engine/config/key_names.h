// The keys of an experiment, for those that name them to people: completion, the manual page, configurations with comments.
#pragma once
#include <string>
#include <vector>

#include "engine/config/config.h"

namespace tvmap {

struct KeyName {
    std::string path;  ///< as in solver.tau
    std::vector<std::string>
        words;  ///< that its value can be, or some of them; empty where it is a number, a name or a list
};

/// All of them, in the order in which to_yaml() prints them.
std::vector<KeyName> key_names();

/// A key's value as it stands in YAML, on one line. Throws Error where there is no such key.
std::string yaml_value(const Config& config, const std::string& path);

}  // namespace tvmap
