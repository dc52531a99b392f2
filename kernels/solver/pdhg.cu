// The total-variation solver on the GPU: checks, the choice of a mapping, and the sums of a scalar map's
// gradient. The step is in kernels/solver/pdhg_device.h, its mappings are in pdhg_{tiles,cluster,global}.cu beside it.
#include "kernels/solver/pdhg.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/base/bump_allocator.h"
#include "kernels/gpu/block_sum.h"
#include "kernels/solver/pdhg_choice.h"
#include "kernels/solver/pdhg_mappings.h"

namespace tvmap {
namespace pdhg {
namespace {

constexpr unsigned sum_threads = 256;

// The sum of each solve's plane in double, in the CPU's order: along every row, then over the rows. One block
// per solve; row_sums: solves×H.
__global__ void pdhg_map_sum_kernel(Task t, const float* planes, double* row_sums, float* sums,
                                    bool accumulate) {
    if (t.settled()) return;
    const double sum = gpu::plane_sum(planes + blockIdx.x * t.pixels(), t.height, t.width,
                                      row_sums + std::int64_t(blockIdx.x) * t.height);
    if (threadIdx.x == 0) store(accumulate, float(sum), sums[blockIdx.x]);
}

// What a mapping of clusters leaves for tiles: the solves behind the first mapping.in_clusters, and how they
// are laid out.
struct Rest {
    PdhgProblem problem;
    cuda::PdhgMapping mapping;
};
std::optional<Rest> rest_of(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    if (mapping.kind != cuda::PdhgMapping::Kind::cluster || mapping.in_clusters == 0 ||
        mapping.in_clusters >= problem.solves)
        return {};
    Rest rest{problem, mapping};
    rest.problem.solves -= mapping.in_clusters;
    rest.mapping.kind = cuda::PdhgMapping::Kind::tiles;
    return rest;
}

__global__ void pdhg_settle_kernel(int solves, const double* part, const double* sum, double tolerance,
                                   int steps, PdhgSettling* settling) {
    if (settling->settled != 0) return;
    settling->steps += steps;
    settling->settled = 1;
    for (int n = 0; n < solves; ++n) {
        if (!(part[n] <= tolerance * tolerance * sum[n])) settling->settled = 0;
    }
}

// The workspace, cut up: the mapping's own part; for a scalar map the plane of d_Λ of each solve and its
// rows' sums.
struct Workspace {
    std::byte* own;
    float* planes = nullptr;
    double* sums = nullptr;
    std::size_t bytes;

    Workspace(const PdhgProblem& problem, const cuda::PdhgMapping& mapping, void* memory = nullptr) {
        BumpAllocator pieces(memory);
        own = pieces.take<std::byte>(mapping_bytes(problem, mapping));
        if (problem.map == MapKind::scalar) {
            const std::size_t solves = std::size_t(problem.solves);
            planes = pieces.take<float>(solves * std::size_t(problem.pixels()));
            sums = pieces.take<double>(solves * std::size_t(problem.height));
        }
        bytes = std::max(pieces.bytes(), piece_alignment);
    }
    static std::size_t mapping_bytes(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
        switch (mapping.kind) {
            case cuda::PdhgMapping::Kind::tiles:
                return tiles_workspace_bytes(problem, mapping);
            case cuda::PdhgMapping::Kind::cluster: {
                const std::optional<Rest> rest = rest_of(problem, mapping);
                return rest ? tiles_workspace_bytes(rest->problem, rest->mapping) : 0;
            }
            case cuda::PdhgMapping::Kind::global:
                return global_workspace_bytes(problem);
        }
        return 0;
    }
};

cuda::PdhgMapping checked(const char* where, const PdhgProblem& problem, const cuda::PdhgMapping* mapping) {
    if (mapping == nullptr) return cuda::pdhg_mapping(problem);
    const std::string why = mapping_refusal(problem, *mapping);
    if (!why.empty()) {
        fail(where, ": the mapping does not fit ", problem.solves, " solves of ", problem.height, "x",
             problem.width, ": ", why, "; let pdhg_mapping choose");
    }
    return *mapping;
}

Task task_of(const PdhgProblem& problem, int iterations, bool adjoint) {
    Task task;
    task.solves = problem.solves;
    task.height = problem.height;
    task.width = problem.width;
    task.solves_per_image = problem.solves_per_image;
    task.iterations = iterations;
    task.neumann = problem.boundary == Boundary::neumann;
    task.start_at_image = problem.dual_start == DualStart::image;
    task.a = adjoint ? problem.tau : problem.sigma;
    task.b = adjoint ? problem.sigma : problem.tau;
    task.s = 1.0f / (1.0f + problem.sigma);
    task.theta = problem.theta;
    task.sigma = problem.sigma;
    return task;
}

// The task of `solves` solves, the first of which is number `first`.
Task part_of(Task t, int first, int solves, const PdhgProblem& problem) {
    const std::int64_t pixels = first * t.pixels(), map = first * problem.map_size();
    const auto advance = [](auto*& pointer, std::int64_t count) {
        if (pointer != nullptr) pointer += count;
    };
    advance(t.masks, word_offset(t, first, 0, 0, 0));
    advance(t.lambda, map);
    advance(t.d_lambda, problem.map == MapKind::scalar ? pixels : map);  // a scalar's is a plane
    advance(t.x, pixels);
    advance(t.d_x, pixels);
    advance(t.d_z, pixels);
    for (float** plane : {&t.state.x, &t.state.x_bar, &t.state.p, &t.adjoint_state.y, &t.adjoint_state.y_bar,
                          &t.adjoint_state.p, &t.adjoint_state.sum_p})
        advance(*plane, pixels);
    advance(t.state.q, 2 * pixels);
    advance(t.adjoint_state.q, 2 * pixels);
    t.first_solve += first;
    t.solves = solves;
    return t;
}

void run(gpu::Stream stream, const PdhgProblem& problem, const Task& task, Direction direction,
         const cuda::PdhgMapping& mapping, void* workspace) {
    switch (mapping.kind) {
        case cuda::PdhgMapping::Kind::tiles:
            return run_tiles(stream, task, direction, mapping, workspace);
        case cuda::PdhgMapping::Kind::cluster: {
            const std::optional<Rest> rest = rest_of(problem, mapping);
            if (!rest) return run_cluster(stream, task, direction, mapping);
            const int first = mapping.in_clusters;
            run_cluster(stream, part_of(task, 0, first, problem), direction, mapping);
            return run_tiles(stream, part_of(task, first, rest->problem.solves, problem), direction,
                             rest->mapping, workspace);
        }
        case cuda::PdhgMapping::Kind::global:
            return run_global(stream, task, direction, workspace);
    }
}

}  // namespace

std::string mapping_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    switch (mapping.kind) {
        case cuda::PdhgMapping::Kind::tiles:
            return tiles_refusal(problem, mapping);
        case cuda::PdhgMapping::Kind::cluster: {
            const std::string why = cluster_refusal(problem, mapping);
            const std::optional<Rest> rest = rest_of(problem, mapping);
            return why.empty() && rest ? tiles_refusal(rest->problem, rest->mapping) : why;
        }
        case cuda::PdhgMapping::Kind::global:
            return {};
    }
    return "there is no such kind";
}

}  // namespace pdhg

namespace cuda {
namespace {

struct Candidate {
    PdhgMapping mapping;
    double cost;
};

// As many tiles of as many solves as there are multiprocessors.
std::vector<Candidate> tile_candidates(const PdhgProblem& problem) {
    std::vector<Candidate> candidates;
    const int processors = gpu::device().multiprocessors;
    for (const int columns : {16, 32, 96, 224}) {
        const int across = (problem.width + columns - 1) / columns;
        for (int solves = 1; solves <= problem.solves && solves * across <= processors; ++solves) {
            const int down = std::min(processors / (solves * across), problem.height);
            for (int steps = 1; steps <= (columns == 16 ? 8 : 16); steps *= 2) {
                const PdhgMapping mapping{.kind = PdhgMapping::Kind::tiles,
                                          .tile_rows = (problem.height + down - 1) / down,
                                          .tile_columns = columns,
                                          .steps = steps};
                candidates.push_back({mapping, pdhg::tiles_cost(problem, mapping)});
            }
        }
    }
    return candidates;
}

// All solves as clusters; and whole turns of the device so, where a last turn would leave most of it idle.
std::vector<Candidate> cluster_candidates(const PdhgProblem& problem) {
    std::vector<Candidate> candidates;
    const auto add = [&](PdhgMapping mapping) {
        candidates.push_back({mapping, pdhg::cluster_cost(problem, mapping)});
        const int at_once = pdhg::cluster_solves_at_once(problem, mapping);
        if (at_once == 0 || problem.solves < at_once || problem.solves % at_once == 0) return;
        PdhgProblem whole = problem, rest = problem;
        rest.solves = problem.solves % at_once;
        whole.solves = mapping.in_clusters = problem.solves - rest.solves;
        const double turns = pdhg::cluster_cost(whole, mapping);
        for (const Candidate& tiles : tile_candidates(rest)) {
            mapping.tile_rows = tiles.mapping.tile_rows;
            mapping.tile_columns = tiles.mapping.tile_columns;
            mapping.steps = tiles.mapping.steps;
            candidates.push_back({mapping, turns + tiles.cost});
        }
    };
    for (int blocks = 1; blocks <= std::min(gpu::device().largest_cluster, problem.height); blocks *= 2) {
        add({.kind = PdhgMapping::Kind::cluster, .cluster = blocks});
        if (blocks > 1) add({.kind = PdhgMapping::Kind::cluster, .cluster = blocks, .neighbours = true});
    }
    return candidates;
}

std::vector<Candidate> all_candidates(const PdhgProblem& problem) {
    std::vector<Candidate> candidates = cluster_candidates(problem);
    const std::vector<Candidate> tiles = tile_candidates(problem);
    candidates.insert(candidates.end(), tiles.begin(), tiles.end());
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.cost < b.cost; });
    candidates.push_back({PdhgMapping{}, std::numeric_limits<double>::infinity()});
    return candidates;
}

// The mapping of least cost among those that fit: the last one always does.
PdhgMapping cheapest_mapping(const PdhgProblem& problem) {
    for (const Candidate& candidate : all_candidates(problem)) {
        if (pdhg::mapping_refusal(problem, candidate.mapping).empty()) return candidate.mapping;
    }
    return {};
}

// What costs and refusals depend on: of the problem its sizes and kind of map, of the device what it offers a
// kernel (the emulation can be given another).
auto mapping_key(const PdhgProblem& problem) {
    const gpu::Device& device = gpu::device();
    return std::tuple(problem.solves, problem.height, problem.width, problem.map, device.name, device.major,
                      device.minor, device.multiprocessors, device.shared_per_block, device.largest_cluster);
}

struct Known {
    PdhgMapping mapping;
    bool guessed;
};
// What was chosen in this process. (To ask for refusals is to ask the driver about one kernel after another.)
std::mutex mutex;
std::map<decltype(mapping_key(PdhgProblem())), Known> known;

}  // namespace

PdhgMapping pdhg_mapping(const PdhgProblem& problem) {
    const std::lock_guard lock(mutex);
    const auto key = mapping_key(problem);
    auto found = known.find(key);
    if (found == known.end()) found = known.emplace(key, Known{cheapest_mapping(problem), true}).first;
    return found->second.mapping;
}

std::string settle_pdhg_mapping(gpu::Stream stream, const PdhgProblem& problem, const std::string& kept,
                                bool may_time, std::string* remark) {
    check_pdhg("settle_pdhg_mapping", problem, 0);
    const std::lock_guard lock(mutex);
    const auto key = mapping_key(problem);
    const auto settled = known.find(key);
    if (settled != known.end()) return settled->second.guessed ? "" : mapping_name(settled->second.mapping);
    const auto settle = [&](const PdhgMapping& mapping) {
        known.emplace(key, Known{mapping, false});
        return mapping_name(mapping);
    };
    if (!kept.empty()) {
        const std::optional<PdhgMapping> mapping = mapping_named(kept);
        const std::string why = mapping ? pdhg::mapping_refusal(problem, *mapping) : "it names no mapping";
        if (why.empty()) return settle(*mapping);
        *remark = text("the solver's mapping that was kept for ", problem.solves, " solves of ",
                       problem.height, "x", problem.width, ", \"", kept, "\", is ignored: ", why);
    }
    if (may_time && gpu::device().keeps_time) try {
            return settle(pdhg::fastest_mapping(stream, problem));
        } catch (const Error& error) {
            *remark = text("the solver's mapping is chosen without timing: ", error.what());
        }
    known.emplace(key, Known{cheapest_mapping(problem), true});
    return "";
}

std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations) {
    return cpu::pdhg_mask_bytes(problem, iterations);
}

std::size_t pdhg_workspace_bytes(const PdhgProblem& problem, const PdhgMapping* mapping) {
    check_pdhg("pdhg_workspace_bytes", problem, 0);
    return pdhg::Workspace(problem, pdhg::checked("pdhg_workspace_bytes", problem, mapping)).bytes;
}

void pdhg_forward(gpu::Stream stream, const PdhgProblem& problem, int iterations, const PdhgInput& input,
                  const PdhgOutput& output, const PdhgWorkspace& workspace, const PdhgMapping* mapping) {
    check_pdhg("pdhg_forward", problem, iterations);
    if (output.start_from_state && output.state == nullptr) {
        fail("pdhg_forward: told to start from a state but given none; pass the state or start afresh");
    }
    pdhg::Task task = pdhg::task_of(problem, iterations, false);
    task.z = input.z;
    task.lambda = input.lambda;
    task.x = output.x;
    task.masks = output.masks;
    if (output.state != nullptr) task.state = *output.state;
    task.start_from_state = output.start_from_state;
    const PdhgMapping chosen = pdhg::checked("pdhg_forward", problem, mapping);
    check_pdhg_workspace("pdhg_forward", workspace, pdhg::Workspace(problem, chosen).bytes);
    pdhg::run(stream, problem, task, {.adjoint = false, .map = problem.map}, chosen, workspace.memory);
}

void pdhg_adjoint(gpu::Stream stream, const PdhgProblem& problem, int iterations, const PdhgAdjoint& adjoint,
                  const PdhgDerivatives& derivatives, const PdhgWorkspace& workspace,
                  const PdhgMapping* mapping) {
    check_pdhg("pdhg_adjoint", problem, iterations);
    if (adjoint.masks == nullptr && iterations > 0) {
        fail("pdhg_adjoint: no masks; run pdhg_forward with masks and pass them on");
    }
    if (adjoint.start_from_state && adjoint.state == nullptr) {
        fail("pdhg_adjoint: told to start from a state but given none; pass the state or start afresh");
    }
    const PdhgMapping chosen = pdhg::checked("pdhg_adjoint", problem, mapping);
    const pdhg::Workspace space(problem, chosen, workspace.memory);
    check_pdhg_workspace("pdhg_adjoint", workspace, space.bytes);
    float* const d_lambda = derivatives.d_lambda;
    const bool accumulate = derivatives.write == Write::accumulate;
    const bool summed = problem.map == MapKind::scalar && d_lambda != nullptr;
    float* planes = summed ? space.planes : nullptr;
    pdhg::Task task = pdhg::task_of(problem, iterations, true);
    task.masks = const_cast<std::uint8_t*>(adjoint.masks);  // only read
    task.d_x = adjoint.d_x;
    task.d_lambda = summed ? planes : d_lambda;
    task.d_z = derivatives.d_z;
    if (adjoint.state != nullptr) task.adjoint_state = *adjoint.state;
    task.start_from_state = adjoint.start_from_state;
    task.one_mask = adjoint.one_mask;
    task.from_image = adjoint.from_image;
    task.settling = adjoint.settling;
    task.accumulate_map = accumulate && !summed;
    task.accumulate_image = accumulate;
    pdhg::run(stream, problem, task, {.adjoint = true, .map = problem.map}, chosen, workspace.memory);
    if (summed) {
        gpu::launch(stream,
                    {.name = "pdhg_map_sum_kernel",
                     .grid = dim3(unsigned(problem.solves)),
                     .block = dim3(pdhg::sum_threads)},
                    pdhg::pdhg_map_sum_kernel, task, planes, space.sums, d_lambda, accumulate);
    }
}

void pdhg_settle(gpu::Stream stream, int solves, const double* part, const double* sum, double tolerance,
                 int steps, PdhgSettling* settling) {
    gpu::launch(stream, {.name = "pdhg_settle_kernel", .grid = dim3(1), .block = dim3(1)},
                pdhg::pdhg_settle_kernel, solves, part, sum, tolerance, steps, settling);
}

}  // namespace cuda

std::vector<cuda::PdhgMapping> pdhg::mappings_by_cost(const PdhgProblem& problem) {
    std::vector<cuda::PdhgMapping> mappings;
    for (const cuda::Candidate& candidate : cuda::all_candidates(problem)) {
        if (pdhg::mapping_refusal(problem, candidate.mapping).empty()) mappings.push_back(candidate.mapping);
    }
    return mappings;
}

}  // namespace tvmap
