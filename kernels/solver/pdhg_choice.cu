#include "kernels/solver/pdhg_choice.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <set>
#include <tuple>

#include "kernels/base/error.h"
#include "kernels/base/gpu_runtime.h"

namespace tvmap::pdhg {
namespace {

using cuda::PdhgMapping;
using Kind = PdhgMapping::Kind;

// Enough for a step to count more than what comes before the first and after the last.
constexpr int timed_steps = 32;
// One run tells enough of a mapping that takes so many times as long as the fastest yet.
constexpr double hopeless = 2.0;
// A GPU that had nothing to do lowers its clock, and raises it again within about this time.
constexpr double warm_up_seconds = 0.1;
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

    /// Keeps the GPU busy until its clock is up.
    void warm_up(const PdhgMapping& mapping) const {
        using Clock = std::chrono::steady_clock;
        const auto start = Clock::now();
        do {
            run(mapping);
            gpu::synchronise(stream_);
        } while (std::chrono::duration<double>(Clock::now() - start).count() < warm_up_seconds);
    }
    /// Of forward and adjoint; `least` is the best of others.
    double seconds(const PdhgMapping& mapping, double least) const {
        run(mapping);  // loads what cannot be loaded in a recording
        gpu::synchronise(stream_);
        const auto recording = gpu::record(stream_, [&] { run(mapping); });
        const auto measured = [&](int warm_up, int repeat) {
            return gpu::time(
                stream_, [&] { recording->launch(stream_); }, warm_up, repeat);
        };
        const double first = measured(1, 1);
        return first > hopeless * least ? first : measured(0, 5);
    }

  private:
    std::size_t plane_bytes() const {
        return std::size_t(problem_.solves) * std::size_t(problem_.pixels()) * sizeof(float);
    }
    std::size_t map_bytes() const {
        return std::size_t(problem_.solves) * std::size_t(problem_.map_size()) * sizeof(float);
    }
    void run(const PdhgMapping& mapping) const {
        const PdhgWorkspace workspace{workspace_.data<void>(), workspace_.bytes()};
        auto* masks = masks_.data<std::uint8_t>();
        cuda::pdhg_forward(stream_, problem_, timed_steps, z_.data<float>(), lambda_.data<float>(),
                           x_.data<float>(), masks, nullptr, false, workspace, &mapping);
        cuda::pdhg_adjoint(stream_, problem_, timed_steps, masks, x_.data<float>(), d_lambda_.data<float>(),
                           nullptr, Write::overwrite, workspace, &mapping);
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
    struct Timed {
        double seconds;
        PdhgMapping mapping;
    };
    const std::vector<PdhgMapping> mappings = mappings_to_time(problem);
    const Trial trial(stream, problem, mappings);
    std::vector<Timed> timed;
    std::string obstacle = "no mapping fits";
    double least = std::numeric_limits<double>::infinity();
    for (const PdhgMapping& mapping : mappings) try {
            if (timed.empty()) trial.warm_up(mapping);
            timed.push_back({trial.seconds(mapping, least), mapping});
            least = std::min(least, timed.back().seconds);
        } catch (const Error& error) {
            obstacle = error.what();
        }
    if (timed.empty()) fail("solver: no mapping onto ", gpu::device().name, " could be timed: ", obstacle);
    const auto sort = [&] {
        std::stable_sort(timed.begin(), timed.end(),
                         [](const Timed& a, const Timed& b) { return a.seconds < b.seconds; });
    };
    sort();
    if (timed.size() > 1) {  // The best two once more, in turn: the first was timed on a colder GPU.
        for (Timed* one : {&timed[0], &timed[1]}) one->seconds = trial.seconds(one->mapping, least);
        sort();
    }
    return timed[0].mapping;
}

}  // namespace tvmap::pdhg
