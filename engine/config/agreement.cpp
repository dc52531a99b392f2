#include "engine/config/agreement.h"

#include <algorithm>

#include "kernels/base/error.h"

namespace tvmap {

std::string describe(const Difference& d) { return text(d.key, ": ", d.then, " -> ", d.now); }

std::vector<Difference> check_use(const Config& trained, const Config& used, const std::string& path) {
    std::vector<Difference> all = differences(trained, used);
    // To a network that sees every image at the scale of its noise, what σ is given in is all the same.
    const bool scaled = trained.network.normalise && used.network.normalise;
    for (const Difference& d : all)
        if (d.bearing == Bearing::weights && !(scaled && d.key == "noise.relative_to"))
            fail(path, ": was trained with ", d.key, ": ", d.then, ", not ", d.now,
                 ", and means nothing otherwise: use it with that setting, or train another network");
    return all;
}

std::vector<Difference> check_continuation(const Config& begun, const Config& now, const std::string& path) {
    std::vector<Difference> all = differences(begun, now);
    const auto refuse = [&](const Difference& d) {
        fail(path, ": the run was started with ", d.key, ": ", d.then, ", not ", d.now,
             ": resume with the same settings, or start another run with --run");
    };
    for (Difference& d : all) {
        if (d.bearing == Bearing::weights || d.bearing == Bearing::training) refuse(d);
        if (d.key == "train.time" && (begun.train.time > 0) != (now.train.time > 0)) refuse(d);
        const bool ends_it = d.key != "train.epochs" || now.train.time == 0;  // by time, epochs end nothing
        if (d.bearing == Bearing::schedule &&
            (!ends_it || begun.optimiser.schedule == RateSchedule::constant))
            d.bearing = Bearing::result;
    }
    return all;
}

void check_named(const std::vector<Difference>& changes, const std::vector<std::string>& named,
                 const std::string& path) {
    for (const std::string& key : named)
        if (bearing_of(key) != Bearing::schedule)
            fail("--change ", key,
                 ": no run may change this setting, only train.epochs and train.time; start another run with "
                 "--run");
    for (const Difference& d : changes)
        if (d.bearing == Bearing::schedule && std::find(named.begin(), named.end(), d.key) == named.end())
            fail(path, ": the learning rates of this run end at ", d.key, ": ", d.then, ", not ", d.now,
                 ": resume with that, or move their end from here on with --change ", d.key);
}

}  // namespace tvmap
