// tvmap bench: every operation's time, traffic and arithmetic, as shares of what this machine reaches in the
// same run. Traffic is the least possible: each input read once, each output written once, from memory; an
// operation whose data stay in the caches can pass 100 %. Arithmetic is that of the plain algorithm, so
// Winograd's can pass 100 % too; the peak is that of fp32, or of bf16 in tiles for what is multiplied there.
#include <algorithm>
#include <chrono>
#include <memory>
#include <sstream>

#include "apps/commands/bench_cases.h"
#include "apps/program/command.h"
#include "apps/program/interruption.h"
#include "apps/program/progress_line.h"
#include "engine/solver/solver.h"
#include "kernels/base/simd.h"
#include "kernels/machine_peak.h"
#include "kernels/threads/threads.h"

namespace tvmap {
namespace {

struct Options : BenchOptions {
    double seconds = 0.3;
    std::string filter, precision = "fp32";
};

struct Timing {
    double median = 0, best = 0;
    int runs = 0;
};

/// Times runs one by one. Where work is queued, so many runs are recorded together that starting and awaiting
/// them does not count.
Timing measure(Backend& backend, const std::function<void()>& run, double seconds) {
    using Clock = std::chrono::steady_clock;
    constexpr double long_enough = 2e-3;
    const auto timed = [&](const std::function<void()>& work) {
        const auto start = Clock::now();
        work();
        backend.synchronise();
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    timed(run);  // first touch, first use of a thread team
    int copies = 1;
    std::unique_ptr<Recording> recording;
    if (backend.separate_memory()) {
        copies = std::clamp(int(long_enough / timed(run)), 1, 200);
        recording = backend.record([&] {
            for (int i = 0; i < copies; ++i) run();
        });
        timed([&] { recording->replay(); });
    }
    std::vector<double> times;
    const auto begin = Clock::now();
    do {
        times.push_back(timed([&] { recording ? recording->replay() : run(); }) / copies);
    } while (!interrupted() &&
             (times.size() < 3 || Clock::now() - begin < std::chrono::duration<double>(seconds)));
    return {median(times), *std::min_element(times.begin(), times.end()), int(times.size()) * copies};
}

std::string row(const std::string& kernel, const std::string& shape, const std::vector<std::string>& cells,
                const std::string& last) {
    // Padded by characters, not bytes: × and → take several.
    const auto pad = [](const std::string& cell, std::size_t width, bool left) {
        const auto length =
            std::size_t(std::count_if(cell.begin(), cell.end(), [](char c) { return (c & 0xc0) != 0x80; }));
        const std::string space(width > length ? width - length : 0, ' ');
        return left ? cell + space : space + cell;
    };
    std::string line = pad(kernel, 24, true) + pad(shape, 28, true);
    for (const std::string& cell : cells) line += pad(cell, 12, false);
    return line + (last.empty() ? "" : "  " + last) + "\n";
}

/// Whether all of these algorithms, "forward=…" or "weights=…,data=…" or one word, are products of AMX tiles.
bool multiplies_tiles(const std::string& algorithms) {
    if (algorithms.empty()) return false;
    std::istringstream list(algorithms);
    for (std::string one; std::getline(list, one, ',');)
        if (one.find("amx") == std::string::npos) return false;
    return true;
}

int run(const Options& options, const CommonOptions& common) {
    if (options.size % 8 != 0) throw UsageError("--size: give a multiple of 8");
    const auto backend = make_backend(common.device, options.precision);
    const auto cases = bench_cases(*backend, options);
    const auto wanted = [&](const auto& entry) {
        return entry.first.find(options.filter) != std::string::npos;
    };
    if (std::none_of(cases.begin(), cases.end(), wanted))
        throw UsageError("--filter " + options.filter + ": no operation's name holds this");
    interrupted();
    const auto [memory, arithmetic, tiles] = backend->measure_peak();
    Json json{{"command", "bench"},
              {"device", backend->description()},
              {"versions", backend->algorithm_key()},
              {"instruction_set", cpu::instruction_set()},
              {"threads", thread_count()},
              {"precision", options.precision},
              {"peak_bytes_per_second", memory},
              {"peak_operations_per_second", arithmetic},
              {"kernels", Json::array()}};
    if (tiles > 0) json["peak_tile_operations_per_second"] = tiles;
    const std::string of_tiles = tiles > 0 ? ", bf16 in tiles " + number(tiles * 1e-9, 4) + " GFLOP/s" : "";
    if (!common.json && !common.quiet)
        std::cout << backend->algorithm_key() << "; measured peaks: memory " << number(memory * 1e-9, 4)
                  << " GB/s, fp32 " << number(arithmetic * 1e-9, 4) << " GFLOP/s" << of_tiles << "\n"
                  << row("operation", "shape", {"ms", "GB/s", "of memory", "GFLOP/s", "of peak"}, "algorithm")
                  << std::flush;
    ProgressLine progress("bench", double(cases.size()), "kernels", common.quiet || !common.json);
    double done = 0;
    for (const auto& entry : cases) {
        if (interrupted()) throw Interrupted("interrupted");
        progress.update(done++);
        if (!wanted(entry)) continue;
        const auto& [kernel, make] = entry;
        const BenchCase c = make();
        const Timing t = measure(*backend, c.run, options.seconds);
        const double bytes = c.bytes / t.median, operations = c.operations / t.median;
        const bool in_tiles = tiles > 0 && multiplies_tiles(c.algorithm);
        const double peak = in_tiles ? tiles : arithmetic;
        json["kernels"].push_back({{"kernel", kernel},
                                   {"shape", c.shape},
                                   {"algorithm", c.algorithm},
                                   {"seconds", t.median},
                                   {"best_seconds", t.best},
                                   {"runs", t.runs},
                                   {"bytes_per_second", bytes},
                                   {"memory_share", bytes / memory},
                                   {"operations_per_second", operations},
                                   {"arithmetic_peak", in_tiles ? "bf16 in tiles" : "fp32"},
                                   {"arithmetic_share", operations / peak}});
        const auto share = [](double part) { return number(100 * part, 3) + " %"; };
        const bool counted = c.operations > 0;
        if (!common.json && !common.quiet)
            std::cout << row(kernel, c.shape,
                             {number(t.median * 1e3, 4), c.bytes > 0 ? number(bytes * 1e-9, 4) : "",
                              c.bytes > 0 ? share(bytes / memory) : "",
                              counted ? number(operations * 1e-9, 4) : "",
                              counted ? share(operations / peak) + (in_tiles ? " bf16" : "") : ""},
                             c.algorithm)
                      << std::flush;
    }
    if (common.json) print_result(common, json, "");
    return success;
}

}  // namespace

void add_bench(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command =
        program.add("bench", "every operation's time and share of the device's measured peaks",
                    "tvmap bench --filter convolution --threads 1",
                    [options](const CommonOptions& common) { return run(*options, common); });
    add_number(command, "--size", options->size, "side of the image", 32, 4096);
    add_number(command, "--batch", options->batch, "images", 1, 4096);
    add_number(command, "--iterations", options->iterations, "the solver's steps", 1, 1000000);
    add_number(command, "--seconds", options->seconds, "measuring time for each operation", 0.0, 3600.0);
    command.add_option("--precision", options->precision, "of the network's products; tf32 on a GPU alone")
        ->check(CLI::IsMember({"fp32", "tf32", "bf16"}))
        ->capture_default_str();
    command.add_option("--filter", options->filter, "only operations whose name holds this (default: all)");
}

}  // namespace tvmap
