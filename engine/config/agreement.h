// Whether two configurations go together: the one rule for weights that are used and for runs that go on.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"

namespace tvmap {

/// What depends on a setting. Every key has one, in the table of engine/config/config.cpp.
enum class Bearing {
    weights,   ///< what the weights mean: the same wherever they are used
    training,  ///< how they come about: the same all through a run
    schedule,  ///< where the curve of the learning rates ends: in a run, changed by name alone
    result,    ///< what is measured, and how often
    place,     ///< where things lie and what memory they may take: no number depends on it
};

/// The bearing of a key; none for what is no key.
std::optional<Bearing> bearing_of(const std::string& key);

/// A setting on which two configurations disagree, its values as in YAML.
struct Difference {
    std::string key, then, now;
    Bearing bearing;
};

/// "KEY: THEN -> NOW"
std::string describe(const Difference& difference);

/// All differences but those of places, in the order of the keys.
std::vector<Difference> differences(const Config& then, const Config& now);

/// For weights that are used under other settings. Throws Error (which opens with `path`, the weights' file) for the
/// first difference in what they depend on; returns what merely differs.
std::vector<Difference> check_use(const Config& trained, const Config& used, const std::string& path);

/// For a run that goes on under other settings than its file `path` holds. Throws Error (which opens with `path`) for
/// the first difference in what weights or training depend on; returns the others. A schedule that is constant may
/// end elsewhere: then train.epochs or train.time is among the others as a result. Between runs by epochs and runs by
/// time (train.time) there is no going over.
std::vector<Difference> check_continuation(const Config& begun, const Config& now, const std::string& path);

/// Throws Error (which opens with `path`) for a change of schedule that `named` does not name, and for a name of a
/// setting that no run may change.
void check_named(const std::vector<Difference>& changes, const std::vector<std::string>& named,
                 const std::string& path);

}  // namespace tvmap
