// A convolution by oneDNN's algorithms and ours: chooses one for each direction, by timing, and runs them.
// Backward is weights, with the activation's gradient, then data.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <type_traits>
#include <vector>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/base/simd.h"
#include "kernels/convolution/convolution_implementations.h"
#include "kernels/convolution/cpu_pass.h"
#include "kernels/convolution/untimed_algorithms.h"
#include "kernels/threads/threads.h"

namespace tvmap::cpu {

using onednn::Algorithm;
using onednn::Direction;
using Pass = CpuPass;

namespace {

constexpr char amx_bf16[] = "amx_bf16", avx512_bf16[] = "avx512_bf16";

// Memory for timing, straight from the operating system and back to it: planning leaves no trace in the
// process's size.
class Pages {
  public:
    explicit Pages(std::size_t bytes) : bytes_(std::max<std::size_t>(bytes, 1)) {
        void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("convolution: no ", bytes_,
                 " bytes of memory to time algorithms with; use smaller batches or images");
        data_ = static_cast<std::byte*>(memory);
    }
    ~Pages() { munmap(data_, bytes_); }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    std::byte* data() const { return data_; }
    float* floats() const { return reinterpret_cast<float*>(data_); }

    // Ordinary numbers from `least` on: untouched pages would all be one page of zeros, in the first cache.
    void fill(Element element, float least = -0.75f) {
        for_element(element, [&](auto number) {
            using Number = decltype(number);
            Number* const numbers = reinterpret_cast<Number*>(data_);
            for (std::size_t k = 0; k < bytes_ / sizeof(Number); ++k) {
                const float value = least + float(k % 97) / 64.0f;
                if constexpr (std::is_same_v<Number, float>)
                    numbers[k] = value;
                else
                    numbers[k] = to_bfloat16(value);
            }
        });
    }

  private:
    std::size_t bytes_;
    std::byte* data_;
};

std::size_t extent_bytes(const Features& f) {
    return std::size_t((f.n - 1) * f.image_stride + f.image_size()) * element_bytes(f.element);
}

double seconds_of(const auto& run) {
    const auto start = std::chrono::steady_clock::now();
    run();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The index of the fastest of `count` runs. They take turns, so that a disturbance from outside hits all
// alike, and each is judged by its best turn. Turns go on until the best time of everyone who is still in the
// race has been seen twice: at once on a quiet machine, as long as patience lasts on a busy one.
template <class Run>
std::size_t fastest_of(std::size_t count, const Run& run) {
    constexpr int least_turns = 3;
    constexpr double patience = 0.05;  // seconds for each candidate
    constexpr double alike = 1.1;      // how far apart the same time may be
    constexpr double hopeless = 1.5;   // times the leader's: out of the race
    struct Times {
        double best = 1e9, second = 1e9;
    };
    std::vector<Times> times(count);
    const auto faster = [](const Times& a, const Times& b) { return a.best < b.best; };
    double spent = 0;
    const auto take = [&](std::size_t k) {
        const double seconds = seconds_of([&] { run(k); });
        spent += seconds;
        times[k].second = std::min(times[k].second, std::max(seconds, times[k].best));
        times[k].best = std::min(times[k].best, seconds);
    };
    for (std::size_t k = 0; k < count; ++k) {
        run(k);  // warms up
        take(k);
    }
    bool settled = false;
    for (int turn = 1; (turn < least_turns || !settled) && spent < patience * double(count); ++turn) {
        const double limit = hopeless * std::min_element(times.begin(), times.end(), faster)->best;
        settled = true;
        for (std::size_t k = 0; k < count; ++k) {
            if (times[k].best > limit) continue;
            take(k);
            settled = settled && times[k].second < alike * times[k].best;
        }
    }
    return std::size_t(std::min_element(times.begin(), times.end(), faster) - times.begin());
}

class OnednnConvolution : public Convolution {
  public:
    OnednnConvolution(const ConvolutionProblem& problem, const std::string& algorithms)
        : problem_(problem), threads_(thread_count()), d_a_(problem.y) {
        if (algorithms.empty()) {
            Pages x(extent_bytes(problem.x)), y(extent_bytes(problem.y)), weight(weight_bytes()),
                bias(bias_bytes()), d_y(problem.training ? extent_bytes(problem.y) : 0);
            x.fill(problem.x.element);
            d_y.fill(problem.y.element);
            for (Pages* pages : {&weight, &bias}) pages->fill(Element::fp32);
            take([&](Direction direction) {
                // Where y is positive, d_a is d_y, however often it is computed.
                y.fill(problem_.y.element, 0.1f);
                return fastest(direction, x.floats(), y.floats(), d_y.floats(), weight.floats(),
                               bias.floats());
            });
        } else if (are_untimed(algorithms)) {
            take_extremes(algorithms == most_memory);
        } else {
            take([&](Direction direction) { return given(direction, algorithms); });
        }
        if (!problem.training) return;

        // A pass over the whole batch wants d_a dense.
        copies_d_a_ = copies_d_a(*weights_) || (data_ && copies_d_a(*data_));
        if (copies_d_a_)
            d_a_ = dense_features(problem.y.n, problem.y.c, problem.y.h, problem.y.w, problem.y.block,
                                  problem.y.element);
        scratch_ = copies_d_a_ ? aligned(std::size_t(d_a_.size()) * element_bytes(d_a_.element)) : 0;
    }

    std::size_t forward_workspace_bytes() const override { return forward_->workspace_bytes(); }

    std::size_t backward_workspace_bytes() const override {
        if (!problem_.training) return 0;
        const std::size_t passes =
            std::max(weights_->workspace_bytes(), data_ ? data_->workspace_bytes() : std::size_t(0));
        return scratch_ + passes;
    }

    void forward(const float* x, const float* weight, const float* bias, float* y, void* workspace) override {
        check_threads(problem_, threads_);
        forward_->forward(x, weight, bias, y, workspace);
    }

    void backward(const ConvolutionBackward& b, void* workspace) override {
        check_threads(problem_, threads_);
        const bool adds = b.d_x && b.d_x_write == Write::accumulate;
        if (!problem_.training || (b.d_x && !data_) || (adds && !problem_.accumulates_d_x))
            fail("convolution (", problem_.key(), "): planned without this gradient");
        std::byte* scratch = static_cast<std::byte*>(workspace) + scratch_;
        float* d_a = copies_d_a_ ? static_cast<float*>(workspace) : b.d_y;
        weights_->weights(b.x, b.y, b.d_y, {d_a, d_a_}, b.d_weight, b.d_bias, b.parameter_write, scratch);
        if (b.d_x) data_->data({d_a, d_a_}, b.weight, b.d_x, b.d_x_write, scratch);
    }

    std::string algorithms() const override {
        const auto part = [](Direction direction, const std::optional<Pass>& pass) {
            return pass ? text(name(direction), "=", pass->algorithm().to_string()) : std::string();
        };
        std::string all = part(Direction::forward, forward_);
        if (weights_) all += "," + part(Direction::weights, weights_);
        if (data_) all += "," + part(Direction::data, data_);
        return all;
    }

  private:
    void take(const auto& plan) {
        forward_ = plan(Direction::forward);
        if (!problem_.training) return;
        weights_ = plan(Direction::weights);
        if (problem_.needs_d_x) data_ = plan(Direction::data);
    }

    std::size_t weight_bytes() const {
        return std::size_t(problem_.x.c) * problem_.y.c * problem_.kernel * problem_.kernel * sizeof(float);
    }
    std::size_t bias_bytes() const { return std::size_t(problem_.y.c) * sizeof(float); }

    // Whether one primitive may serve the batch. d_a is made dense where it has to be. oneDNN 2 counts in 32 bits
    // what Winograd makes of a tensor, up to 2.25 times its size, and divides by what is left of it: larger
    // batches are worked on image by image.
    bool batches(Direction direction) const {
        constexpr std::int64_t most = std::int64_t(1) << 29;
        const bool counted = problem_.x.n == 1 || std::max(problem_.x.size(), problem_.y.size()) <= most;
        return counted && problem_.x.dense() && (problem_.y.dense() || direction != Direction::forward);
    }

    // The caller's layout first. oneDNN's own, through staging buffers, where its best kernels do not take
    // the caller's; its plain loops where there is nothing else. For tensors of bf16, oneDNN's algorithms and
    // products of tiles round the factors of products and Winograd does not: all take part.
    std::vector<Algorithm> candidates(Direction direction) const {
        const char* widest = onednn_channel_block() == 16 ? "avx512" : "avx2";
        std::vector<Algorithm> fast, slow;
        if (Winograd::applies(problem_)) fast.push_back({winograd_name});
        if (amx::has_tiles() && TileConvolution::applies(problem_)) fast.push_back({tiles_name});
        bool has_widest = false;
        // oneDNN multiplies by AMX in layouts of its own alone.
        const bool tries_staged = problem_.in_bf16() && bf16_instructions() == amx_bf16;
        for (const bool staged : {false, true}) {
            if (staged && has_widest && !tries_staged) break;
            for (const bool images : {false, true}) {
                if (images ? problem_.x.n == 1 : !batches(direction)) continue;
                for (const Algorithm& a : available(problem_, direction, images, staged)) {
                    has_widest = has_widest || a.implementation.find(widest) != std::string::npos;
                    // Products of matrices of bf16 are never the fastest, and oneDNN generates their code, some 4 MB that
                    // no plan counts, when the first of them runs.
                    const bool late =
                        problem_.in_bf16() && a.implementation.find("gemm") != std::string::npos;
                    (a.is_reference() || late ? slow : fast).push_back(a);
                }
            }
        }
        return fast.empty() ? slow : fast;
    }

    std::vector<Pass> passes_of(Direction direction) const {
        std::vector<Pass> passes;
        for (const Algorithm& candidate : candidates(direction))
            if (std::optional<Pass> pass = Pass::make(problem_, direction, candidate))
                passes.push_back(std::move(*pass));
        if (passes.empty())
            fail("convolution (", problem_.key(), "): oneDNN cannot compute ", name(direction),
                 " for these shapes; choose other numbers of channels");
        return passes;
    }

    // Whether the pass, of the backward direction, wants d_a dense and gets it by a copy.
    bool copies_d_a(const Pass& pass) const { return pass.wants_dense_d_a() && !problem_.y.dense(); }

    // Weights and data together: they share their scratch memory, and one copy of d_a.
    void take_extremes(bool most) {
        const auto beyond = [&](std::size_t a, std::size_t b) { return most ? a > b : a < b; };
        for (Pass& pass : passes_of(Direction::forward))
            if (!forward_ || beyond(pass.workspace_bytes(), forward_->workspace_bytes()))
                forward_ = std::move(pass);
        if (!problem_.training) return;
        std::vector<Pass> weights = passes_of(Direction::weights), data;
        if (problem_.needs_d_x) data = passes_of(Direction::data);
        const std::size_t copy = std::size_t(problem_.y.size()) * element_bytes(problem_.y.element);
        std::size_t best = 0, best_weights = weights.size(), best_data = 0;
        for (std::size_t w = 0; w < weights.size(); ++w)
            for (std::size_t d = 0; d < std::max<std::size_t>(data.size(), 1); ++d) {
                std::size_t bytes = weights[w].workspace_bytes();
                bool copies = copies_d_a(weights[w]);
                if (!data.empty()) {
                    bytes = std::max(bytes, data[d].workspace_bytes());
                    copies = copies || copies_d_a(data[d]);
                }
                if (copies) bytes += copy;
                if (best_weights < weights.size() && !beyond(bytes, best)) continue;
                best = bytes;
                best_weights = w;
                best_data = d;
            }
        weights_ = std::move(weights[best_weights]);
        if (!data.empty()) data_ = std::move(data[best_data]);
    }

    std::optional<Pass> fastest(Direction direction, float* x, float* y, float* d_y, float* weight,
                                float* bias) const {
        std::vector<Pass> passes = passes_of(direction);
        if (passes.size() == 1) return std::move(passes.front());
        std::size_t bytes = 0;
        for (const Pass& pass : passes) bytes = std::max(bytes, pass.workspace_bytes());
        const Pages workspace(bytes);
        const std::size_t winner = fastest_of(passes.size(), [&](std::size_t k) {
            switch (direction) {
                case Direction::forward:
                    return passes[k].forward(x, weight, bias, y, workspace.data());
                case Direction::weights:
                    return passes[k].weights(x, y, d_y, {d_y, problem_.y}, weight, bias, Write::overwrite,
                                             workspace.data());
                case Direction::data:
                    return passes[k].data({d_y, problem_.y}, weight, x, Write::overwrite, workspace.data());
            }
        });
        return std::move(passes[winner]);
    }

    std::optional<Pass> given(Direction direction, const std::string& algorithms) const {
        const std::string key = text(name(direction), "=");
        std::size_t start = 0;
        while (start < algorithms.size()) {
            const std::size_t end = std::min(algorithms.find(',', start), algorithms.size());
            const std::string part = algorithms.substr(start, end - start);
            start = end + 1;
            if (part.rfind(key, 0) != 0) continue;
            const Algorithm algorithm = Algorithm::parse(part.substr(key.size()));
            if (algorithm.to_string() != part.substr(key.size())) break;
            const bool own =
                algorithm.implementation == winograd_name || algorithm.implementation == tiles_name;
            if (!own && !algorithm.images && !batches(direction)) break;
            if (std::optional<Pass> pass = Pass::make(problem_, direction, algorithm)) return pass;
            break;
        }
        fail("convolution (", problem_.key(), "): no algorithm for ", name(direction), " in \"", algorithms,
             "\" that this machine has; leave the algorithms empty to have them chosen anew");
    }

    ConvolutionProblem problem_;
    int threads_;
    std::optional<Pass> forward_, weights_, data_;
    Features d_a_;             // the layout of d_a: d_y's own or a dense copy's
    bool copies_d_a_ = false;  // whether d_a is that copy, at the start of the workspace
    std::size_t scratch_ = 0;  // where the passes' scratch memory starts
};

// Whether oneDNN may use a level of instructions. Every level from avx512_core on includes its bits, and those of the
// 256-bit levels lack some.
bool onednn_has(dnnl::cpu_isa level) {
    return (unsigned(dnnl::get_effective_cpu_isa()) & unsigned(level)) == unsigned(level);
}

}  // namespace

void limit_onednn() {
    const std::string set = instruction_set();
    const dnnl::cpu_isa level = set == "AVX-512" ? dnnl::cpu_isa::avx512_core
                                : set == "AVX2"  ? dnnl::cpu_isa::avx2
                                                 : dnnl::cpu_isa::sse41;
    if (dnnl::set_max_cpu_isa(level) != dnnl::status::success)
        fail("oneDNN: its instruction set can no longer be limited to ", set,
             "; limit it before anything else");
}

int onednn_channel_block() {
    return onednn_has(dnnl::cpu_isa::avx512_core) ? 16 : onednn_has(dnnl::cpu_isa::avx2) ? 8 : 1;
}

std::string bf16_instructions() {
    return onednn_has(dnnl::cpu_isa::avx512_core_amx)    ? amx_bf16
           : onednn_has(dnnl::cpu_isa::avx512_core_bf16) ? avx512_bf16
                                                         : "";
}

void require_bf16() {
    if (!bf16_instructions().empty()) return;
    const int block = onednn_channel_block();
    fail("network.precision: bf16 on the CPU needs ", avx512_bf16, " or ", amx_bf16,
         "; this machine has, or is limited to, ",
         block == 16  ? "AVX-512 without them"
         : block == 8 ? "AVX2"
                      : "less than AVX2",
         "; use fp32");
}

std::unique_ptr<Convolution> onednn_convolution(const ConvolutionProblem& problem,
                                                const std::string& algorithms) {
    return std::make_unique<OnednnConvolution>(problem, algorithms);
}

}  // namespace tvmap::cpu
