// The keys of an experiment's YAML: a key is its path, its bearing, a reader into the struct and a writer out of it.
// For engine/config/config.cpp and engine/config/config_read.cpp alone.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/config/agreement.h"
#include "engine/config/config_values.h"

namespace tvmap {

struct Key {
    std::string path;
    Bearing bearing;  ///< what depends on it
    std::function<void(const Given&, Config&)> read;
    std::function<std::string(const Config&)> write;
    bool list = false;                    ///< its value can be a list
    std::vector<std::string> words = {};  ///< that its value can be, or some of them
};

/// Every key there is, in the order in which to_yaml() prints them.
const std::vector<Key>& keys();

/// Null where there is none.
const Key* find_key(const std::string& path);

/// Whether keys stand below it, as solver.tau below solver.
bool is_section(const std::string& path);

/// The known key or section nearest to `path`; one of the same name in another section counts as near.
std::string nearest_key(const std::string& path);

/// The name behind the last point.
std::string last_part(const std::string& path);

}  // namespace tvmap
