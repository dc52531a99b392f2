#include "kernels/solver/pdhg_choice.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "kernels/base/error.h"
#include "kernels/gpu/gpu_runtime.h"
#include "kernels/gpu/gpu_trial.h"

namespace tvmap::pdhg {
namespace {

using cuda::PdhgMapping;
using Kind = PdhgMapping::Kind;

// Enough for a step to count more than what comes before the first and after the last.
constexpr int timed_steps = 32;
// Of every byte of the data: floats of 0.046. What they are makes no difference to the time.
constexpr int data_byte = 0x3d;

class Memory {
  public:
    Memory(gpu::Stream stream, std::size_t bytes)
        : bytes_(std::max<std::size_t>(bytes, 64)), memory_(gpu::allocate(bytes_)) {
        gpu::fill(stream, memory_, data_byte, bytes_);
    }
    ~Memory() { gpu::release(memory_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    template <class T>
    T* data() const {
        return static_cast<T*>(memory_);
    }
    std::size_t bytes() const { return bytes_; }

  private:
    std::size_t bytes_;
    void* memory_;
};

std::size_t most_workspace_bytes(const PdhgProblem& problem, const std::vector<PdhgMapping>& mappings) {
    std::size_t most = 0;
    for (const PdhgMapping& mapping : mappings)
        most = std::max(most, cuda::pdhg_workspace_bytes(problem, &mapping));
    return most;
}

class Trial {
  public:
    Trial(gpu::Stream stream, const PdhgProblem& problem, const std::vector<PdhgMapping>& mappings)
        : stream_(stream),
          problem_(problem),
          z_(stream, plane_bytes()),
          x_(stream, plane_bytes()),
          lambda_(stream, map_bytes()),
          d_lambda_(stream, map_bytes()),
          masks_(stream, cuda::pdhg_mask_bytes(problem, timed_steps)),
          workspace_(stream, most_workspace_bytes(problem, mappings)) {}

    /// Queues forward and adjoint.
    void run(const PdhgMapping& mapping) const {
        const PdhgWorkspace workspace{workspace_.data<void>(), workspace_.bytes()};
        auto* masks = masks_.data<std::uint8_t>();
        cuda::pdhg_forward(stream_, problem_, timed_steps, {z_.data<float>(), lambda_.data<float>()},
                           {.x = x_.data<float>(), .masks = masks}, workspace, &mapping);
        cuda::pdhg_adjoint(stream_, problem_, timed_steps, {.masks = masks, .d_x = x_.data<float>()},
                           {.d_lambda = d_lambda_.data<float>()}, workspace, &mapping);
    }

  private:
    std::size_t plane_bytes() const {
        return std::size_t(problem_.solves) * std::size_t(problem_.pixels()) * sizeof(float);
    }
    std::size_t map_bytes() const {
        return std::size_t(problem_.solves) * std::size_t(problem_.map_size()) * sizeof(float);
    }

    gpu::Stream stream_;
    PdhgProblem problem_;
    Memory z_, x_, lambda_, d_lambda_, masks_, workspace_;
};

}  // namespace

std::vector<PdhgMapping> mappings_to_time(const PdhgProblem& problem) {
    std::set<std::tuple<Kind, int, bool, bool, int>> seen;
    std::vector<PdhgMapping> chosen;
    for (const PdhgMapping& m : mappings_by_cost(problem)) {
        const bool tiles = m.kind == Kind::tiles, cluster = m.kind == Kind::cluster;
        if (seen.emplace(m.kind, cluster ? m.cluster : 0, m.neighbours, m.in_clusters > 0,
                         tiles ? m.steps : 0)
                .second)
            chosen.push_back(m);
    }
    return chosen;
}

PdhgMapping fastest_mapping(gpu::Stream stream, const PdhgProblem& problem) {
    const std::vector<PdhgMapping> mappings = mappings_to_time(problem);
    const Trial trial(stream, problem, mappings);
    std::string obstacle = "no mapping fits";
    const std::vector<gpu::TimedCandidate> timed = gpu::timed_candidates(
        stream, mappings.size(), [&](std::size_t k) { trial.run(mappings[k]); }, &obstacle);
    if (timed.empty()) fail("solver: no mapping onto ", gpu::device().name, " could be timed: ", obstacle);
    return mappings[timed[0].candidate];
}

}  // namespace tvmap::pdhg
