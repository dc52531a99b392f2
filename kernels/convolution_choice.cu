// Candidates are timed, and convolutions rehearsed, on made-up data in memory that is given back.
#include "kernels/convolution_choice.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/activation_gradient.h"
#include "kernels/error.h"

namespace tvmap::cuda {
namespace {

// Device memory full of ordinary numbers, as floats and as bfloat16.
class Scratch {
  public:
    Scratch(gpu::Stream stream, std::size_t bytes) : memory_(gpu::allocate(std::max<std::size_t>(bytes, 4))) {
        std::vector<float> pattern(std::min<std::size_t>(bytes / sizeof(float), 64 * 1024));
        for (std::size_t k = 0; k < pattern.size(); ++k) pattern[k] = float(int(k % 97) - 48) / 64.0f;
        std::size_t filled = pattern.size() * sizeof(float);
        gpu::copy(stream, memory_, pattern.data(), filled);
        while (filled > 0 && filled < bytes) {
            const std::size_t more = std::min(filled, bytes - filled);
            gpu::copy(stream, static_cast<std::byte*>(memory_) + filled, memory_, more);
            filled += more;
        }
        gpu::synchronise(stream);
    }
    ~Scratch() { gpu::release(memory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    void* data() const { return memory_; }
    float* floats() const { return static_cast<float*>(memory_); }

  private:
    void* memory_;
};

std::size_t extent_bytes(const Features& f) {
    return std::size_t((f.n - 1) * f.image_stride + f.image_size()) * sizeof(float);
}

// A pass takes about as long as the host needs to queue it: timed alone, all would look alike.
constexpr int runs_of_recording = 4;
// One run tells enough of a candidate that takes so many times as long as the fastest yet.
constexpr double hopeless = 2.0;

// Its number; candidates.size(), and *obstacle, where all fail.
std::size_t fastest_of(gpu::Stream stream, const PassProblem& problem,
                       const std::vector<ChosenPass>& candidates, std::string* obstacle) {
    std::size_t workspace_bytes = 0;
    for (const ChosenPass& c : candidates)
        workspace_bytes = std::max(workspace_bytes, c.pass->workspace_bytes());
    const Scratch x(stream, extent_bytes(problem.x)), y(stream, extent_bytes(problem.y));
    const std::size_t weights = std::size_t(problem.x.c) * problem.y.c * problem.kernel * problem.kernel;
    const Scratch weight(stream, weights * sizeof(float)), workspace(stream, workspace_bytes);
    const Scratch bias(stream, problem.y.c * sizeof(float));
    const float* const bias_data = bias.floats();

    std::size_t winner = candidates.size();
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < candidates.size(); ++k) {
        const ChosenPass& c = candidates[k];
        const auto run = [&] {
            switch (problem.direction) {
                case Direction::forward:
                    c.pass->run(stream, x.data(), weight.data(), c.activates ? bias_data : nullptr, y.data(),
                                workspace.data());
                    if (!c.activates)
                        bias_activation(stream, {y.floats(), problem.y}, bias_data, problem.slope);
                    return;
                case Direction::data:
                    return c.pass->run(stream, y.data(), weight.data(), nullptr, x.data(), workspace.data());
                case Direction::weights:
                    return c.pass->run(stream, x.data(), y.data(), nullptr, weight.data(), workspace.data());
            }
        };
        try {
            run();  // loads what cannot be loaded in a recording
            gpu::synchronise(stream);
            const auto recording = gpu::record(stream, [&] {
                for (int i = 0; i < runs_of_recording; ++i) run();
            });
            const auto seconds_of = [&](int warm_up, int repeat) {
                return gpu::time(
                    stream, [&] { recording->launch(stream); }, warm_up, repeat);
            };
            if (seconds_of(1, 1) > hopeless * least) continue;
            const double seconds = seconds_of(0, 5);
            if (seconds < least) least = seconds, winner = k;
        } catch (const Error& error) {
            *obstacle = error.what();
        }
    }
    return winner;
}

constexpr const char* fused = "+fused";

// What was found fastest before, by problem; and the convolutions that have been rehearsed.
std::mutex mutex;
std::map<std::string, std::string> choices;
std::set<std::string> rehearsed;

}  // namespace

std::string ChosenPass::to_string() const {
    return pass ? pass->algorithm() + (activates ? fused : "") : "none";
}

ChosenPass given_pass(PassProblem problem, const std::string& written, std::string* obstacle) {
    const std::size_t plus = written.find(fused);
    const bool activates = plus != std::string::npos;
    problem.activates = activates;
    return {planned_pass(problem, written.substr(0, plus), obstacle), activates};
}

ChosenPass fastest_pass(gpu::Stream stream, PassProblem problem, std::string* obstacle) {
    const std::string key = text(gpu::device().name, " ", problem.key());
    const std::lock_guard lock(mutex);
    if (const auto known = choices.find(key); known != choices.end())
        if (ChosenPass pass = given_pass(problem, known->second, obstacle)) return pass;

    std::vector<ChosenPass> candidates;
    for (const bool activates : {true, false}) {
        if (activates && problem.direction != Direction::forward) continue;
        problem.activates = activates;
        for (const auto& pass : available_passes(problem, obstacle)) candidates.push_back({pass, activates});
    }
    if (candidates.empty()) return {};
    const std::size_t winner = candidates.size() == 1 ? 0 : fastest_of(stream, problem, candidates, obstacle);
    if (winner == candidates.size()) return {};
    choices[key] = candidates[winner].to_string();
    return candidates[winner];
}

void rehearse(gpu::Stream stream, Precision precision, const ConvolutionProblem& problem,
              Convolution& convolution) {
    const std::string key = text(gpu::device().name, " ", precision_name(precision), " ", problem.key(), " ",
                                 problem.x.image_stride, " ", problem.y.image_stride, " ",
                                 problem.accumulates_d_x, " ", convolution.algorithms());
    const std::lock_guard lock(mutex);
    if (rehearsed.contains(key)) return;
    const std::size_t weights =
        std::size_t(problem.x.c) * problem.y.c * problem.kernel * problem.kernel * sizeof(float);
    const std::size_t biases = problem.y.c * sizeof(float);
    const Scratch x(stream, extent_bytes(problem.x)), y(stream, extent_bytes(problem.y));
    const Scratch weight(stream, weights), bias(stream, biases);
    const Scratch workspace(
        stream, std::max(convolution.forward_workspace_bytes(), convolution.backward_workspace_bytes()));
    convolution.forward(x.floats(), weight.floats(), bias.floats(), y.floats(), workspace.data());
    if (problem.training) {
        const Scratch d_x(stream, problem.needs_d_x ? extent_bytes(problem.x) : 0);
        const Scratch d_y(stream, extent_bytes(problem.y));
        const Scratch d_weight(stream, weights), d_bias(stream, biases);
        for (const Write write : {Write::overwrite, Write::accumulate}) {
            if (write == Write::accumulate && !(problem.needs_d_x && problem.accumulates_d_x)) break;
            convolution.backward(x.floats(), weight.floats(), y.floats(), d_y.floats(),
                                 problem.needs_d_x ? d_x.floats() : nullptr, write, d_weight.floats(),
                                 d_bias.floats(), write, workspace.data());
        }
        gpu::synchronise(stream);
    }
    gpu::synchronise(stream);
    rehearsed.insert(key);
}

}  // namespace tvmap::cuda
