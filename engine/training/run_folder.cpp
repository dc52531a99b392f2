#include "engine/training/run_folder.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "engine/files/file.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

constexpr const char* names[] = {"last", "best"};  // of checkpoints

void check_counters(const Progress& p, int steps_per_epoch, const std::string& path) {
    // An epoch that ended since a run's time was up is short of steps.
    const std::int64_t missing = std::int64_t(p.epoch) * steps_per_epoch + p.step - p.steps;
    if (p.step >= steps_per_epoch || missing < 0 || (missing > 0 && p.time == 0))
        fail(path, ": tvmap.epoch ", p.epoch, ", tvmap.step ", p.step, " and tvmap.steps ", p.steps,
             " cannot be at ", steps_per_epoch, " steps an epoch; get the file again");
}

void check_images(const std::string& key, const std::string& images, const std::string& now,
                  const std::string& then, const std::string& path) {
    if (now != then)
        fail(key, ": ", images, " holds ", now, ": not the images that ", path, " was trained with, ", then,
             "; restore them, or start another run with --run");
}

}  // namespace

RunFolder::RunFolder(const std::string& path) : path_(path) {
    if (fs::is_directory(path)) lock_ = std::make_unique<FolderLock>(path);
}

// (A metrics.csv alone may be anybody's; MetricsFile keeps it.)
bool RunFolder::holds_run() const {
    return fs::is_regular_file(path("config.yaml")) ||
           std::any_of(std::begin(names), std::end(names),
                       [&](const char* name) { return fs::is_regular_file(checkpoint(name)); });
}

RunFolder::Continuation RunFolder::check(const Config& config, const Progress& now, int steps_per_epoch,
                                         const std::vector<std::string>& change) const {
    Continuation result;
    std::int64_t steps = 0;  // of the origin
    for (const char* name : names) {
        const std::string file = checkpoint(name);
        if (!fs::is_regular_file(file)) continue;
        const auto begun = stored_config(file);
        if (!begun)
            fail(file,
                 ": no run of this program wrote this checkpoint, and training would write over it; move it "
                 "away, or choose another folder with --run");
        const std::vector<Difference> found = check_continuation(*begun, config, file);
        const Progress reached = read_progress(file);
        check_images("data.train", config.data.train, now.train_images, reached.train_images, file);
        check_images("data.val", config.data.val, now.val_images, reached.val_images, file);
        check_counters(reached, steps_per_epoch, file);
        const bool later = reached.steps > steps;
        if (result.origin.empty() || (later && has_moments(file))) result = {file, found};
        steps = std::max(steps, reached.steps);
    }
    if (const std::string file = path("config.yaml"); result.origin.empty() && fs::is_regular_file(file)) {
        result.changes = check_continuation(read_config(file), config, file);
        for (Difference& d : result.changes)
            d.bearing = Bearing::result;  // no step was taken by any schedule
    }
    check_named(result.changes, change, result.origin);
    return result;
}

void RunFolder::make() {
    make_folder(path_);
    if (!lock_) {
        lock_ = std::make_unique<FolderLock>(path_);
        if (holds_run())
            fail(path_,
                 ": another process has begun a run here meanwhile; go on with it by --resume, or choose "
                 "another folder with --run");
    }
    make_folder(path("checkpoints"));
    for (const std::string& place : {path_, path("checkpoints")}) remove_temporaries(place);
}

void RunFolder::log(const std::string& line) const {
    std::ofstream file(path("log.txt"), std::ios::app);
    file << line << std::endl;
    if (!file) fail("cannot write ", path("log.txt"), "; free some space or choose another folder");
}

}  // namespace tvmap
