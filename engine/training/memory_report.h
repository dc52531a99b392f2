// Where the memory of a training run goes, owner by owner: as it was planned, and as it was found after ten
// steps and at the end.
//     values, gradients, saved, workspace
//                   tensors of the arena, or of each part's where a batch is divided, that are alive at its peak
//                   (`values` with the inputs; `saved`: from the solver's forward to its backward pass)
//     gaps          of the arena at that step: between tensors, for lack of a better place
//     validation    what validation needs of the arena beyond a training step
//     parameters    weights, gradients and Adam's moments; the weights' average (train.ema) and the sum of several
//                   batches' gradients (train.accumulate)
//     batches       on the host: the one in use and the next, each noisy and clean
//     pictures      what validation reads and finds; on a device all its images, where they fit
//     training_set, schedule
//                   on a device
//     primitives    what planning itself leaves behind (generated code, tables, handles) and, measured,
//                   whatever else the process or the device has taken since
//     timing        what trying algorithms out took beyond all of the above, for a while and before it
#pragma once
#include <string>
#include <vector>

#include "engine/graph/plan.h"

namespace tvmap {

/// Bytes of one owner.
struct MemoryOwner {
    std::string name;
    std::size_t predicted = 0;
    std::size_t measured = 0;  ///< 0: not yet
};

/// In bytes of the process where the backend works in the host's memory, else of the device.
struct MemoryReport {
    std::vector<MemoryOwner> owners;
    /// Less what was in use before planning (0: not yet measured): the process's peak so far, or what is in
    /// use on the device, by other programs too.
    std::size_t measured = 0;
    std::size_t limit = 0;  ///< train.memory_limit; 0: none
    /// Of the host's memory, for a training on a device: the copy that checkpoints are written from (see
    /// CheckpointWriter). In no sum here, which is of the device's memory then.
    std::size_t copy = 0;

    std::size_t predicted() const;
    /// The owner of this name, made at its first use.
    MemoryOwner& operator[](const std::string& name);
    /// Lines of a name, the bytes predicted and, once there are any, the bytes measured; the last one sums
    /// up.
    std::string table() const;
};

/// Adds the owners of an arena of this size, at the plan's peak.
void add_arena(MemoryReport& report, const Plan& plan, std::size_t arena_bytes);

/// A plan and the arena that it is bound to.
struct PlacedPlan {
    const Plan* plan;
    const Arena* arena;
};

/// Measures every owner, `total` being what was found in all. An owner in the host's memory counts with the
/// pages it has touched, one on a device with what is allocated.
void measure(MemoryReport& report, const Backend& backend, const std::vector<PlacedPlan>& plans,
             const Parameters& parameters, std::size_t total);

}  // namespace tvmap
