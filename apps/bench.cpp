// tvmap bench: every kernel's time, traffic and arithmetic, as shares of what this machine reaches in the
// same run. Traffic is the least possible: each input read once, each output written once, from memory; a
// kernel whose data stay in the caches can pass 100 %. Arithmetic is that of the plain algorithm, so
// Winograd's can pass 100 % too.
#include <algorithm>
#include <chrono>
#include <memory>

#include "apps/command.h"
#include "engine/aligned_buffer.h"
#include "engine/solver.h"
#include "kernels/adam.h"
#include "kernels/convolution.h"
#include "kernels/leaky_relu.h"
#include "kernels/loss.h"
#include "kernels/machine_peak.h"
#include "kernels/max_pool.h"
#include "kernels/metrics.h"
#include "kernels/parameter_map.h"
#include "kernels/random.h"
#include "kernels/simd.h"
#include "kernels/threads.h"
#include "kernels/upsample.h"

namespace tvmap {
namespace {

struct Options {
    int size = 256, batch = 1, iterations = 256;
    double seconds = 0.3;
    std::string filter;
};

/// One kernel on one shape, ready to run.
struct Case {
    std::string kernel, shape;
    double bytes = 0, operations = 0;
    std::function<void()> run;
};

struct Timing {
    double median = 0, best = 0;
    int runs = 0;
};

using Buffer = std::shared_ptr<AlignedBuffer<float>>;

/// Numbers in [from, to), the same each time.
Buffer numbers(std::int64_t count, float from, float to) {
    auto buffer = std::make_shared<AlignedBuffer<float>>(std::size_t(count));
    for (std::int64_t i = 0; i < count; ++i)
        buffer->data()[i] = from + (to - from) * uniform(1, Purpose::phantom, 0, 0, std::uint32_t(i));
    return buffer;
}

ConstView view(const Buffer& buffer, const Features& shape) { return {buffer->data(), shape}; }
View target(const Buffer& buffer, const Features& shape) { return {buffer->data(), shape}; }

std::string describe_features(const Features& f) { return text(f.n, "×", f.c, "×", f.h, "×", f.w); }

Timing measure(const std::function<void()>& run, double seconds) {
    using Clock = std::chrono::steady_clock;
    run();  // first touch, first use of a thread team
    std::vector<double> times;
    const auto begin = Clock::now();
    do {
        const auto start = Clock::now();
        run();
        times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    } while (!interrupted() &&
             (times.size() < 3 || Clock::now() - begin < std::chrono::duration<double>(seconds)));
    return {median(times), *std::min_element(times.begin(), times.end()), int(times.size())};
}

/// Collects cases; making one is put off until it is its turn, so that only one holds memory at a time.
class Cases {
  public:
    explicit Cases(const Options& options) : options_(options) {
        const int n = options.batch, s = options.size;
        for (const auto& [in, out, side] : {std::array{1, 32, s},
                                            {32, 32, s},
                                            {64, 32, s},
                                            {32, 64, s / 2},
                                            {64, 64, s / 2},
                                            {128, 64, s / 2},
                                            {128, 128, s / 4},
                                            {256, 128, s / 4},
                                            {256, 256, s / 8}})
            convolution(dense_features(n, in, side, side, 1), out, 3, 0.01f);
        convolution(dense_features(n, 64, s / 2, s / 2, 1), 32, 1, 1.0f);
        convolution(dense_features(n, 32, s, s, 1), 2, 1, 1.0f);
        const Features wide = dense_features(n, 32, s, s, cpu::channel_block(32));
        sampling(wide);
        elementwise(wide);
        losses();
        solver();
    }

    const std::vector<std::pair<std::string, std::function<Case()>>>& all() const { return makers_; }

  private:
    void add(const std::string& kernel, std::function<Case()> make) {
        makers_.emplace_back(kernel, std::move(make));
    }

    void convolution(Features x, int channels, int kernel, float slope) {
        const int block = std::min(cpu::channel_block(x.c), cpu::channel_block(channels));
        x.block = block;
        const Features y = dense_features(x.n, channels, x.h, x.w, block);
        for (const bool backward : {false, true})
            add(backward ? "convolution_backward" : "convolution_forward", [=] {
                ConvolutionProblem problem{x, y, kernel, slope, true, x.c > 1};
                std::shared_ptr<Convolution> planned = cpu::make_convolution(problem, "");
                const std::int64_t weights = std::int64_t(channels) * x.c * kernel * kernel;
                const Buffer in = numbers(x.size(), 0, 1), d_in = numbers(x.size(), 0, 0),
                             out = numbers(y.size(), -1, 1);
                const Buffer d_out = numbers(y.size(), -1, 1);
                const Buffer w = numbers(weights, -0.1f, 0.1f), b = numbers(channels, 0, 0);
                const Buffer d_w = numbers(weights, 0, 0), d_b = numbers(channels, 0, 0);
                auto work = std::make_shared<AlignedBuffer<std::byte>>(
                    std::max(planned->forward_workspace_bytes(), planned->backward_workspace_bytes()));
                const double forward_operations = 2.0 * double(weights) * x.n * x.h * x.w;
                Case c;
                c.shape = text(describe_features(x), " → ", channels, ", ", kernel, "×", kernel);
                if (!backward) {
                    c.bytes = 4.0 * double(x.size() + y.size() + weights);
                    c.operations = forward_operations;
                    c.run = [=] {
                        planned->forward(in->data(), w->data(), b->data(), out->data(), work->data());
                    };
                } else {
                    const bool d_x = problem.needs_d_x;
                    c.bytes = 4.0 * double((d_x ? 2 : 1) * x.size() + 2 * y.size() + (d_x ? 2 : 1) * weights);
                    c.operations = (d_x ? 2 : 1) * forward_operations;
                    c.run = [=] {
                        planned->backward(in->data(), w->data(), out->data(), d_out->data(),
                                          d_x ? d_in->data() : nullptr, Write::overwrite, d_w->data(),
                                          d_b->data(), Write::overwrite, work->data());
                    };
                }
                return c;
            });
    }

    void sampling(const Features& large) {
        const Features small = dense_features(large.n, large.c, large.h / 2, large.w / 2, large.block);
        using Run = void (*)(const Buffer&, const Buffer&, const Buffer&, const Features&, const Features&);
        const auto sample = [&](const char* name, double images_read_or_written, Run run) {
            add(name, [=] {
                const Buffer big = numbers(large.size(), -1, 1), little = numbers(small.size(), -1, 1),
                             d_big = numbers(large.size(), -1, 1);
                Case c;
                c.shape = describe_features(large);
                c.bytes = 4.0 * (images_read_or_written * double(large.size()) + double(small.size()));
                c.run = [=] { run(big, little, d_big, large, small); };
                return c;
            });
        };
        sample("max_pool_forward", 1,
               [](const Buffer& big, const Buffer& little, const Buffer&, const Features& l,
                  const Features& s) { cpu::max_pool_forward(view(big, l), target(little, s)); });
        sample("max_pool_backward", 2,
               [](const Buffer& big, const Buffer& little, const Buffer& d_big, const Features& l,
                  const Features& s) {
                   cpu::max_pool_backward(view(big, l), view(little, s), target(d_big, l), Write::overwrite);
               });
        sample("upsample_forward", 1,
               [](const Buffer& big, const Buffer& little, const Buffer&, const Features& l,
                  const Features& s) { cpu::upsample_forward(view(little, s), target(big, l)); });
        sample(
            "upsample_backward", 1,
            [](const Buffer& big, const Buffer& little, const Buffer&, const Features& l, const Features& s) {
                cpu::upsample_backward(view(big, l), target(little, s), Write::overwrite);
            });
    }

    /// A kernel that reads and writes `arrays` arrays of one shape.
    void streaming(const std::string& name, const Features& shape, double arrays,
                   const std::function<void(const std::array<Buffer, 4>&)>& run) {
        add(name, [=] {
            std::array<Buffer, 4> buffers;
            for (Buffer& buffer : buffers) buffer = numbers(shape.size(), 0, 1);
            Case c;
            c.shape = describe_features(shape);
            c.bytes = 4.0 * arrays * double(shape.size());
            c.run = [=] { run(buffers); };
            return c;
        });
    }

    void elementwise(const Features& f) {
        streaming("leaky_relu_forward", f, 2,
                  [=](const auto& b) { cpu::leaky_relu_forward(view(b[0], f), target(b[1], f), 0.01f); });
        streaming("leaky_relu_backward", f, 3, [=](const auto& b) {
            cpu::leaky_relu_backward(view(b[0], f), view(b[1], f), target(b[2], f), 0.01f, Write::overwrite);
        });
        streaming("add", f, 3,
                  [=](const auto& b) { cpu::add(view(b[0], f), view(b[1], f), target(b[2], f)); });
        const Features raw = dense_features(f.n, 2, f.h, f.w, 1);
        streaming("parameter_map_forward", raw, 2,
                  [=](const auto& b) { cpu::parameter_map_forward({}, view(b[0], raw), target(b[1], raw)); });
        streaming("parameter_map_backward", raw, 3, [=](const auto& b) {
            cpu::parameter_map_backward({}, view(b[0], raw), view(b[1], raw), target(b[2], raw),
                                        Write::overwrite);
        });
        const Features weights = dense_features(1, 1, 1, 1796034, 1);  // the reference network's parameters
        streaming("adam_step", weights, 7, [=](const auto& b) {
            cpu::adam_step({}, weights.size(), b[0]->data(), b[1]->data(), b[2]->data(), b[3]->data());
        });
    }

    void losses() {
        const Features f = dense_features(options_.batch, 1, options_.size, options_.size, 1);
        auto mse = std::make_shared<std::vector<double>>(f.n, 0.1);
        streaming("loss_forward", f, 2, [=](const auto& b) {
            cpu::loss_forward(LossKind::mse, view(b[0], f), view(b[1], f), mse->data());
        });
        streaming("loss_backward", f, 3, [=](const auto& b) {
            cpu::loss_backward(LossKind::mse, view(b[0], f), view(b[1], f), mse->data(), target(b[2], f),
                               Write::overwrite);
        });
        streaming("add_noise", f, 2, [=](const auto& b) {
            cpu::add_noise(1, 2, 3, f.size(), b[0]->data(), 0.1f, b[1]->data());
        });
        const Features one = dense_features(1, 1, f.h, f.w, 1);
        streaming("psnr", one, 2, [=](const auto& b) { cpu::psnr(b[0]->data(), b[1]->data(), one.size()); });
        streaming("ssim_uniform", one, 2,
                  [=](const auto& b) { cpu::ssim_uniform(b[0]->data(), b[1]->data(), one.h, one.w); });
        streaming("ssim_gaussian", one, 2,
                  [=](const auto& b) { cpu::ssim_gaussian(b[0]->data(), b[1]->data(), one.h, one.w); });
    }

    /// Per pixel and step: 4 operations for p, 2·3 for q (the clip not counted), 6 for x, 3 for x̄. The
    /// traffic is that of a plain sweep: 5 floats of state read and written, z and Λ read. So its share of
    /// the memory's peak says how much is saved by carrying several steps through the caches at once.
    void solver() {
        const int iterations = options_.iterations;
        PdhgProblem problem;
        problem.solves = options_.batch;
        problem.height = problem.width = options_.size;
        PdhgProblem search = problem;
        search.map = MapKind::scalar;
        search.solves = search.solves_per_image = 81;
        enum Kind { forward, with_masks, adjoint };
        const auto pdhg = [&](const char* name, PdhgProblem p, Kind kind) {
            add(name, [=] {
                const std::int64_t count = p.solves * p.pixels();
                const Buffer z = numbers(count, 0, 1), lambda = numbers(p.solves * p.map_size(), 0, 0.2f),
                             x = numbers(count, -1e-5f, 1e-5f),
                             d_lambda = numbers(p.solves * p.map_size(), 0, 0);
                auto work = std::make_shared<AlignedBuffer<std::byte>>(cpu::pdhg_workspace_bytes(p));
                auto masks = std::make_shared<AlignedBuffer<std::uint8_t>>(
                    kind == forward ? 0 : cpu::pdhg_mask_bytes(p, iterations));
                Case c;
                c.shape = text(p.solves, "×", p.height, "×", p.width, ", T = ", iterations);
                c.operations = 19.0 * double(count) * iterations;
                c.bytes = 4.0 * 12 * double(count) * iterations;
                if (kind == adjoint) {
                    cpu::pdhg_forward(p, iterations, z->data(), lambda->data(), x->data(), masks->data(),
                                      nullptr, false, work->data());
                    c.run = [=] {
                        cpu::pdhg_adjoint(p, iterations, masks->data(), x->data(), d_lambda->data(), nullptr,
                                          Write::overwrite, work->data());
                    };
                } else {
                    c.run = [=] {
                        cpu::pdhg_forward(p, iterations, z->data(), lambda->data(), x->data(),
                                          kind == forward ? nullptr : masks->data(), nullptr, false,
                                          work->data());
                    };
                }
                return c;
            });
        };
        pdhg("pdhg_forward", problem, forward);
        pdhg("pdhg_forward_masks", problem, with_masks);
        pdhg("pdhg_adjoint", problem, adjoint);
        pdhg("pdhg_search", search, forward);
        add("pdhg_gap", [=] {
            const std::int64_t pixels = problem.pixels();
            const Buffer z = numbers(pixels, 0, 1), lambda = numbers(pixels, 0.1f, 0.2f),
                         x = numbers(pixels, 0, 1), q = numbers(2 * pixels, -0.1f, 0.1f);
            Case c;
            c.shape = text("1×", problem.height, "×", problem.width);
            c.bytes = 4.0 * 5 * double(pixels);
            c.run = [=] { cpu::pdhg_gap(problem, z->data(), lambda->data(), x->data(), q->data()); };
            return c;
        });
    }

    const Options& options_;
    std::vector<std::pair<std::string, std::function<Case()>>> makers_;
};

std::string row(const std::string& kernel, const std::string& shape, const std::vector<std::string>& cells) {
    // Padded by characters, not bytes: × and → take several.
    const auto pad = [](const std::string& cell, std::size_t width, bool left) {
        const auto length =
            std::size_t(std::count_if(cell.begin(), cell.end(), [](char c) { return (c & 0xc0) != 0x80; }));
        const std::string space(width > length ? width - length : 0, ' ');
        return left ? cell + space : space + cell;
    };
    std::string line = pad(kernel, 24, true) + pad(shape, 28, true);
    for (const std::string& cell : cells) line += pad(cell, 12, false);
    return line + "\n";
}

int run(const Options& options, const CommonOptions& common) {
    if (options.size % 8 != 0) throw UsageError("--size: give a multiple of 8");
    const Cases cases(options);
    const auto wanted = [&](const auto& entry) {
        return entry.first.find(options.filter) != std::string::npos;
    };
    if (std::none_of(cases.all().begin(), cases.all().end(), wanted))
        throw UsageError("--filter " + options.filter + ": no kernel's name holds this");
    interrupted();
    const double memory = cpu::peak_memory_rate(), arithmetic = cpu::peak_multiply_add_rate();
    Json json{{"command", "bench"},
              {"processor", cpu::processor_name()},
              {"instruction_set", cpu::instruction_sets().front()},
              {"threads", thread_count()},
              {"onednn", cpu::onednn_version()},
              {"peak_bytes_per_second", memory},
              {"peak_operations_per_second", arithmetic},
              {"kernels", Json::array()}};
    if (!common.json && !common.quiet)
        std::cout << cpu::processor_name() << ", " << cpu::instruction_sets().front() << ", "
                  << thread_count() << " threads; measured peaks: memory " << number(memory * 1e-9, 4)
                  << " GB/s, fp32 " << number(arithmetic * 1e-9, 4) << " GFLOP/s\n"
                  << row("kernel", "shape", {"ms", "GB/s", "of memory", "GFLOP/s", "of fp32"}) << std::flush;
    ProgressLine progress("bench", double(cases.all().size()), "kernels", common.quiet || !common.json);
    double done = 0;
    for (const auto& entry : cases.all()) {
        if (interrupted()) throw Interrupted("interrupted");
        progress.update(done++);
        if (!wanted(entry)) continue;
        const auto& [kernel, make] = entry;
        const Case c = make();
        const Timing t = measure(c.run, options.seconds);
        const double bytes = c.bytes / t.median, operations = c.operations / t.median;
        json["kernels"].push_back({{"kernel", kernel},
                                   {"shape", c.shape},
                                   {"seconds", t.median},
                                   {"best_seconds", t.best},
                                   {"runs", t.runs},
                                   {"bytes_per_second", bytes},
                                   {"memory_share", bytes / memory},
                                   {"operations_per_second", operations},
                                   {"arithmetic_share", operations / arithmetic}});
        const auto share = [](double part) { return number(100 * part, 3) + " %"; };
        const bool counted = c.operations > 0;
        if (!common.json && !common.quiet)
            std::cout << row(kernel, c.shape,
                             {number(t.median * 1e3, 4), number(bytes * 1e-9, 4), share(bytes / memory),
                              counted ? number(operations * 1e-9, 4) : "",
                              counted ? share(operations / arithmetic) : ""})
                      << std::flush;
    }
    if (json["kernels"].empty())
        throw UsageError("--filter " + options.filter + ": no kernel's name holds this");
    if (common.json) print_result(common, json, "");
    return success;
}

}  // namespace

void add_bench(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command = program.add("bench", "every kernel's time and share of the machine's measured peaks",
                                    "tvmap bench --filter convolution --threads 1",
                                    [options](const CommonOptions& common) { return run(*options, common); });
    command.add_option("--size", options->size, "side of the image")
        ->check(CLI::Range(32, 4096))
        ->capture_default_str();
    command.add_option("--batch", options->batch, "images")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
    command.add_option("--iterations", options->iterations, "the solver's steps")
        ->check(CLI::Range(1, 1000000))
        ->capture_default_str();
    command.add_option("--seconds", options->seconds, "measuring time for each kernel")
        ->check(CLI::Range(0.0, 3600.0))
        ->capture_default_str();
    command.add_option("--filter", options->filter, "only kernels whose name holds this");
}

}  // namespace tvmap
