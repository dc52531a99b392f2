// Ways to do the same thing on a GPU, timed one beside the other.
#pragma once
#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/gpu/gpu_runtime.h"

namespace tvmap::gpu {

struct TimedCandidate {
    double seconds = 0;  ///< of one launch of the recording
    std::size_t candidate = 0;
};

/// Those of `count` candidates that can be run, the fastest first. queue(k): queues what is timed of candidate k, as it
/// is recorded; a candidate whose queue() throws Error is left out, and *obstacle says why. Waits.
inline std::vector<TimedCandidate> timed_candidates(Stream stream, std::size_t count,
                                                    const std::function<void(std::size_t)>& queue,
                                                    std::string* obstacle) {
    // One run tells enough of a candidate that takes so many times as long as the fastest yet.
    constexpr double hopeless = 2.0;
    // A GPU that had nothing to do lowers its clock, and raises it again within about this time.
    constexpr double warm_up_seconds = 0.1;
    using Clock = std::chrono::steady_clock;
    double least = std::numeric_limits<double>::infinity();
    const auto run = [&](std::size_t k) {
        queue(k);
        synchronise(stream);
    };
    const auto seconds = [&](std::size_t k) {
        run(k);  // loads what cannot be loaded in a recording
        const auto recording = record(stream, [&] { queue(k); });
        const auto measured = [&](int warm_up, int repeat) {
            return time(
                stream, [&] { recording->launch(stream); }, warm_up, repeat);
        };
        const double first = measured(1, 1);
        return first > hopeless * least ? first : measured(0, 5);
    };
    std::vector<TimedCandidate> timed;
    for (std::size_t k = 0; k < count; ++k) try {
            if (timed.empty())
                for (const auto start = Clock::now();
                     std::chrono::duration<double>(Clock::now() - start).count() < warm_up_seconds;)
                    run(k);
            timed.push_back({seconds(k), k});
            least = std::min(least, timed.back().seconds);
        } catch (const Error& error) {
            *obstacle = error.what();
        }
    const auto sort = [&] {
        std::stable_sort(timed.begin(), timed.end(), [](const TimedCandidate& a, const TimedCandidate& b) {
            return a.seconds < b.seconds;
        });
    };
    sort();
    if (timed.size() > 1) {  // The best two once more, in turn: the first was timed on a colder GPU.
        for (TimedCandidate* one : {&timed[0], &timed[1]}) one->seconds = seconds(one->candidate);
        sort();
    }
    return timed;
}

}  // namespace tvmap::gpu
