// Candidates are timed and judged, and convolutions rehearsed, on made-up data in memory that is given back.
#include "kernels/convolution/convolution_choice.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_accuracy.h"
#include "kernels/gpu/gpu_trial.h"
#include "kernels/layers/activation_gradient.h"

namespace tvmap::cuda {
namespace {

// Device memory full of ordinary numbers.
class Scratch {
  public:
    Scratch(gpu::Stream stream, std::size_t bytes, const MadeUpNumbers& numbers)
        : stream_(stream), bytes_(bytes), memory_(gpu::allocate(std::max<std::size_t>(bytes, 4))) {
        fill(numbers);
    }
    ~Scratch() { gpu::release(memory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    void fill(const MadeUpNumbers& numbers) const {
        // The pattern once, then ever longer runs of whole patterns.
        std::size_t filled = std::min(bytes_, numbers.bytes());
        gpu::copy(stream_, memory_, numbers.data(), filled);
        while (filled > 0 && filled < bytes_) {
            const std::size_t more = std::min(filled, bytes_ - filled);
            gpu::copy(stream_, static_cast<std::byte*>(memory_) + filled, memory_, more);
            filled += more;
        }
        gpu::synchronise(stream_);
    }
    void* data() const { return memory_; }
    float* floats() const { return static_cast<float*>(memory_); }

  private:
    gpu::Stream stream_;
    std::size_t bytes_;
    void* memory_;
};

std::size_t extent_bytes(const Features& f) {
    return std::size_t((f.n - 1) * f.image_stride + f.image_size()) * sizeof(float);
}

// A pass takes about as long as the host needs to queue it: timed alone, all would look alike.
constexpr int runs_of_recording = 4;
std::size_t most_workspace_bytes(const std::vector<ChosenPass>& candidates) {
    std::size_t most = 0;
    for (const ChosenPass& c : candidates) most = std::max(most, c.pass->workspace_bytes());
    return most;
}

std::size_t weight_count(const PassProblem& problem) {
    return std::size_t(problem.x.c) * problem.y.c * problem.kernel * problem.kernel;
}

// The candidates for a pass, tried on tensors of their own.
class Trial {
  public:
    Trial(gpu::Stream stream, const PassProblem& problem, const std::vector<ChosenPass>& candidates)
        : stream_(stream),
          problem_(problem),
          numbers_(problem.precision),
          x_(stream, extent_bytes(problem.x), numbers_),
          y_(stream, extent_bytes(problem.y), numbers_),
          weight_(stream, weight_count(problem) * sizeof(float), numbers_),
          workspace_(stream, most_workspace_bytes(candidates), numbers_),
          bias_(stream, problem.y.c * sizeof(float), numbers_) {
        std::vector<float> bias(problem.y.c);  // floats in every precision
        for (std::size_t k = 0; k < bias.size(); ++k) bias[k] = float(numbers_[std::int64_t(k)]);
        gpu::copy(stream, bias_.data(), bias.data(), bias.size() * sizeof(float));
    }

    /// Queues what is timed: several runs, with all that belongs to one.
    void queue_runs(const ChosenPass& c) const {
        for (int i = 0; i < runs_of_recording; ++i) run(c);
    }

    double error(const ChosenPass& c) const {
        PassProblem problem = problem_;
        problem.activates = c.activates;
        const Scratch& result = problem.direction == Direction::forward ? y_
                                : problem.direction == Direction::data  ? x_
                                                                        : weight_;
        for (const Scratch* tensor : {&x_, &y_, &weight_}) tensor->fill(numbers_);
        queue(c);
        const ExactEntries exact = exact_entries(problem, numbers_);
        std::vector<double> found;
        for (const std::int64_t place : exact.places) found.push_back(element(result, place));
        return exact.relative_error(found);
    }

  private:
    void queue(const ChosenPass& c) const {
        switch (problem_.direction) {
            case Direction::forward:
                return c.pass->run(stream_, x_.data(), weight_.data(), c.activates ? bias_.floats() : nullptr,
                                   y_.data(), workspace_.data());
            case Direction::data:
                return c.pass->run(stream_, y_.data(), weight_.data(), nullptr, x_.data(), workspace_.data());
            case Direction::weights:
                return c.pass->run(stream_, x_.data(), y_.data(), nullptr, weight_.data(), workspace_.data());
        }
    }
    void run(const ChosenPass& c) const {
        queue(c);
        if (problem_.direction == Direction::forward && !c.activates)
            bias_activation(stream_, {y_.floats(), problem_.y}, bias_.floats(), problem_.slope);
    }
    double element(const Scratch& tensor, std::int64_t place) const {
        const bool narrow = problem_.precision == Precision::bf16;
        const std::size_t width = narrow ? sizeof(std::uint16_t) : sizeof(float);
        std::uint32_t word = 0;
        gpu::copy(stream_, &word, static_cast<const std::byte*>(tensor.data()) + place * std::int64_t(width),
                  width);
        gpu::synchronise(stream_);
        if (narrow) word <<= 16;
        float value;
        std::memcpy(&value, &word, sizeof value);
        return value;
    }

    gpu::Stream stream_;
    PassProblem problem_;
    MadeUpNumbers numbers_;
    Scratch x_, y_, weight_, workspace_, bias_;
};

// The fastest candidate that is as exact as its precision promises; none, and *obstacle, where all fail.
ChosenPass fastest_of(gpu::Stream stream, const PassProblem& problem,
                      const std::vector<ChosenPass>& candidates, std::string* obstacle) {
    const Trial trial(stream, problem, candidates);
    std::vector<gpu::TimedCandidate> timed{{}};  // a single one is taken as it is
    if (candidates.size() != 1)
        timed = gpu::timed_candidates(
            stream, candidates.size(), [&](std::size_t k) { trial.queue_runs(candidates[k]); }, obstacle);
    for (const gpu::TimedCandidate& one : timed) {
        ChosenPass pass = candidates[one.candidate];
        pass.error = trial.error(pass);
        if (pass.error <= most_error(problem.precision)) return pass;
        *obstacle =
            text(pass.to_string(), " is ", pass.error, " off, more than ", most_error(problem.precision));
    }
    return {};
}

std::vector<ChosenPass> candidates_for(PassProblem problem, std::string* obstacle) {
    std::vector<ChosenPass> candidates;
    for (const bool activates : {true, false}) {
        if (activates && problem.direction != Direction::forward) continue;
        problem.activates = activates;
        for (const auto& pass : available_passes(problem, obstacle)) candidates.push_back({pass, activates});
    }
    return candidates;
}

constexpr const char* fused = "+fused";

// What was found fastest before, by problem; and the convolutions that have been rehearsed.
std::mutex mutex;
std::map<std::string, std::string> choices;
std::set<std::string> rehearsed;

}  // namespace

std::string ChosenPass::to_string() const {
    if (!pass) return "none";
    std::string written = pass->algorithm() + (activates ? fused : "");
    if (error > 0) {
        char digits[16];
        const auto end = std::to_chars(digits, std::end(digits), error, std::chars_format::scientific, 0).ptr;
        written.append("~").append(digits, end);
    }
    return written;
}

ChosenPass given_pass(PassProblem problem, const std::string& written, std::string* obstacle) {
    const std::size_t end = written.find_first_of("+~"), judged = written.find('~');
    problem.activates = written.find(fused) != std::string::npos;
    ChosenPass given{planned_pass(problem, written.substr(0, end), obstacle), problem.activates, 0};
    if (judged != std::string::npos)
        std::from_chars(written.data() + judged + 1, written.data() + written.size(), given.error);
    return given;
}

ChosenPass extreme_pass(PassProblem problem, bool most, std::string* obstacle) {
    const std::vector<ChosenPass> candidates = candidates_for(problem, obstacle);
    if (candidates.empty()) return {};
    const auto less = [](const ChosenPass& a, const ChosenPass& b) {
        return a.pass->workspace_bytes() < b.pass->workspace_bytes();
    };
    return most ? *std::max_element(candidates.begin(), candidates.end(), less)
                : *std::min_element(candidates.begin(), candidates.end(), less);
}

ChosenPass fastest_pass(gpu::Stream stream, PassProblem problem, std::string* obstacle) {
    const std::string key = text(gpu::device().name, " ", problem.key());
    const std::lock_guard lock(mutex);
    if (const auto known = choices.find(key); known != choices.end())
        if (ChosenPass pass = given_pass(problem, known->second, obstacle)) return pass;

    const std::vector<ChosenPass> candidates = candidates_for(problem, obstacle);
    if (candidates.empty()) return {};
    const ChosenPass winner = fastest_of(stream, problem, candidates, obstacle);
    if (winner) choices[key] = winner.to_string();
    return winner;
}

void rehearse(gpu::Stream stream, Precision precision, const ConvolutionProblem& problem,
              Convolution& convolution) {
    const std::string key = text(gpu::device().name, " ", precision_name(precision), " ", problem.key(), " ",
                                 problem.x.image_stride, " ", problem.y.image_stride, " ",
                                 problem.accumulates_d_x, " ", convolution.algorithms());
    const std::lock_guard lock(mutex);
    if (rehearsed.contains(key)) return;
    const MadeUpNumbers numbers(Precision::fp32);
    const auto scratch = [&](std::size_t bytes) { return Scratch(stream, bytes, numbers); };
    const std::size_t weights =
        std::size_t(problem.x.c) * problem.y.c * problem.kernel * problem.kernel * sizeof(float);
    const std::size_t biases = problem.y.c * sizeof(float);
    const Scratch x = scratch(extent_bytes(problem.x)), y = scratch(extent_bytes(problem.y));
    const Scratch weight = scratch(weights), bias = scratch(biases);
    const Scratch workspace =
        scratch(std::max(convolution.forward_workspace_bytes(), convolution.backward_workspace_bytes()));
    convolution.forward(x.floats(), weight.floats(), bias.floats(), y.floats(), workspace.data());
    if (problem.training) {
        const Scratch d_x = scratch(problem.needs_d_x ? extent_bytes(problem.x) : 0);
        const Scratch d_y = scratch(extent_bytes(problem.y));
        const Scratch d_weight = scratch(weights), d_bias = scratch(biases);
        for (const Write write : {Write::overwrite, Write::accumulate}) {
            if (write == Write::accumulate && !(problem.needs_d_x && problem.accumulates_d_x)) break;
            convolution.backward({.x = x.floats(),
                                  .weight = weight.floats(),
                                  .y = y.floats(),
                                  .d_y = d_y.floats(),
                                  .d_x = problem.needs_d_x ? d_x.floats() : nullptr,
                                  .d_x_write = write,
                                  .d_weight = d_weight.floats(),
                                  .d_bias = d_bias.floats(),
                                  .parameter_write = write},
                                 workspace.data());
        }
        gpu::synchronise(stream);
    }
    gpu::synchronise(stream);
    rehearsed.insert(key);
}

}  // namespace tvmap::cuda
