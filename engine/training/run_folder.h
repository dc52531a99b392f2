// The folder of a training run: what lies where, whose it is, and who works in it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/config/agreement.h"
#include "engine/files/folder_lock.h"
#include "engine/model/checkpoint.h"

namespace tvmap {

/// Used by one thread.
class RunFolder {
  public:
    /// Locks the folder if it is there; nothing is made. Throws Error where another process works in it.
    explicit RunFolder(const std::string& path);

    const std::string& name() const { return path_; }
    std::string path(const std::string& file) const { return path_ + "/" + file; }
    /// last or best
    std::string checkpoint(const std::string& name) const {
        return path("checkpoints/" + name + ".safetensors");
    }

    /// Whether there is anything that a new run would write over.
    bool holds_run() const;
    /// How a run goes on.
    struct Continuation {
        /// The checkpoint to go on from, "" if there is none: the last, or the best where that is of a later step, as
        /// a process leaves it that was killed between two last ones. (A best one may be kept without moments; then
        /// it is found again.)
        std::string origin;
        std::vector<Difference> changes;  ///< settings that change; those of schedule since the origin
    };
    /// Whether all that the folder holds is of the run that is to go on: throws Error for a checkpoint of other
    /// settings (see engine/config/agreement.h), of other images than those of `now` or with counters that cannot be,
    /// and for a change that must be named in `change` and is not. The checkpoint goes before config.yaml, which may
    /// be lost.
    Continuation check(const Config& config, const Progress& now, int steps_per_epoch,
                       const std::vector<std::string>& change) const;

    /// Makes and locks the folder, and clears what a killed process left. Throws Error where it cannot be written in,
    /// and where another process has begun a run since it was found missing.
    void make();

    /// Adds a line to log.txt. Throws Error.
    void log(const std::string& line) const;

  private:
    std::string path_;
    std::unique_ptr<FolderLock> lock_;
};

}  // namespace tvmap
