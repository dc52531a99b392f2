// Checkpoints of a run that trains on meanwhile. Where the backend has memory of its own, weights and moments are
// copied to host memory that it copies to fast, and a thread writes the copy. Where it works in the host's memory,
// they are written from where they stand, by the calling thread: a copy would cost memory, which is what the CPU is
// short of, to save a small part of an epoch.
#pragma once
#include <functional>
#include <future>
#include <string>
#include <vector>

#include "engine/model/checkpoint.h"

namespace tvmap {

/// The writer of one run's checkpoints. Used by one thread; its own thread, of which there is never more than one,
/// reads the copy alone.
class CheckpointWriter {
  public:
    /// Throws Error where there is no memory for the copy. The parameters must outlive this.
    CheckpointWriter(Backend& backend, const Parameters& parameters);
    /// Waits for what is being written. What goes wrong with it is lost: finish() comes first.
    ~CheckpointWriter();
    CheckpointWriter(const CheckpointWriter&) = delete;
    CheckpointWriter& operator=(const CheckpointWriter&) = delete;

    /// Bytes of the copy.
    static std::size_t copy_bytes(const Backend& backend, const std::vector<Parameter>& list, Kept kept = {});

    /// Whether something is being written. Throws what went wrong with what no longer is.
    bool busy();

    /// Calls `before`, then writes the state as it is now to `paths`, one after the other; all of that perhaps later,
    /// and by the other thread. Waits for what is being written; throws what went wrong with it, and writes nothing
    /// then.
    void write(const std::vector<std::string>& paths, const Config& config, const Progress& progress,
               const std::function<void()>& before);

    /// Waits until everything is written. Throws what went wrong.
    void finish();

  private:
    Backend& backend_;
    const Parameters& parameters_;
    std::size_t copy_bytes_;
    float* copy_ = nullptr;
    std::future<void> writing_;
};

}  // namespace tvmap
