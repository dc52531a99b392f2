// TensorBoard's event file: records of (length, checksum, protocol buffer, checksum), of which one process
// only ever adds to one file. A reader that meets a record in part, torn by a crash or still being written,
// sees it by length and checksums.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/files/file.h"

namespace tvmap {

/// One figure of one step.
struct Scalar {
    std::string tag;
    float value = 0;
};

/// The event file of this process in a run's folder. Not for several threads at once.
class EventFile {
  public:
    /// Makes nothing yet. `next_step`: from this step on, scalars in files of earlier processes no longer
    /// hold; TensorBoard is told to drop them.
    EventFile(std::string folder, long long next_step) : folder_(std::move(folder)), next_step_(next_step) {}

    /// Adds the scalars of a step, with the time of now. The first call makes the file: its name holds the
    /// time and sorts after the names that are there, the order that TensorBoard reads in. Throws Error.
    void append(long long step, const std::vector<Scalar>& scalars);

  private:
    std::string folder_;
    long long next_step_;
    std::unique_ptr<GrowingFile> file_;
};

}  // namespace tvmap
