// How the solver's mapping is settled: a kept choice that fits is taken, another is not, what may be timed is
// timed once, and a workspace fits whatever was settled.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/graph/algorithms.h"
#include "engine/graph/solver_mapping.h"
#include "kernels/backend.h"
#include "kernels/cuda_loader.h"
#include "kernels/solver/pdhg_choice.h"
#include "tests/solver/cuda_pdhg_mappings.h"
#include "tests/solver/pdhg_case.h"
#include "tests/support/device_buffer.h"
#include "tests/support/temporary_folder.h"
#ifdef TVMAP_EMULATED
#include "kernels/emulation/control.h"
#endif

using namespace pdhg_case;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

/// Each problem is settled once in a process: one that no other test has.
PdhgProblem fresh_problem() {
    static int width = 40;
    return problem_of(8, width += 8, MapKind::separate);
}

std::string settle(const PdhgProblem& s, const std::string& kept, bool may_time,
                   std::string* remark = nullptr) {
    std::string ignored;
    return cuda::settle_pdhg_mapping(test_stream(), s, kept, may_time, remark != nullptr ? remark : &ignored);
}

/// Forward in a workspace of just the size that is asked for has the CPU's bits.
void check_run(const PdhgProblem& s) {
    const Data data = make_data(s, 3);
    const DeviceBuffer<float> z(data.z), lambda(data.lambda), x{std::int64_t(data.z.size())};
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s))};
    cuda::pdhg_forward(test_stream(), s, 5, {z.data(), lambda.data()}, {.x = x.data()},
                       {workspace.data(), workspace.size()});
    CHECK(compared_bits(x.download(), denoise(s, 5, data.z, data.lambda)));
    CHECK(workspace.intact());
}

const std::string other = "tiles 8x16, k = 1";  // that fits fresh problems, and costs more than another

}  // namespace

TEST_CASE("mappings have names, and what is no name is none") {
    std::vector<PdhgMapping> mappings = {global, cluster_of(8), neighbours_of(4), tiles_of(48, 16, 8),
                                         cluster_and_tiles(8, 15, 48, 32, 1)};
    mappings.push_back(mappings.back());
    mappings.back().neighbours = true;
    std::set<std::string> names;
    for (const PdhgMapping& mapping : mappings) {
        const std::string name = cuda::mapping_name(mapping);
        CAPTURE(name);
        names.insert(name);
        const auto read = cuda::mapping_named(name);
        REQUIRE(read);
        CHECK(cuda::mapping_name(*read) == name);
        CHECK(name_of(*read) == name_of(mapping));
    }
    CHECK(names.size() == mappings.size());
    CHECK(cuda::mapping_name(mappings.back()) == "15 as clusters of 8, neighbours, then tiles 48x32, k = 1");
    for (const char* none :
         {"", "Global", "global ", "clusters of", "clusters of 0", "clusters of -2",
          "clusters of 8 neighbours", "clusters of 8, neighbours,", "tiles 48x16",
          "tiles 48x16, k = 1, neighbours", "tiles 9999999x16, k = 1", "15 as tiles 48x16, k = 1",
          "15 as clusters of 8", "99999999999999999999 as clusters of 8, then tiles 8x16, k = 1"})
        CHECK_MESSAGE(!cuda::mapping_named(none), none);
}

TEST_CASE("a kept choice that fits is taken, and stays") {
    const PdhgProblem s = fresh_problem();
    CHECK(settle(s, other, true) == other);
    CHECK(cuda::mapping_name(cuda::pdhg_mapping(s)) == other);
    CHECK(settle(s, "global", true) == other);
    CHECK(cuda::mapping_name(cuda::pdhg_mapping(s)) == other);
    check_run(s);
}

TEST_CASE("a kept choice that does not fit, or is none, is ignored with one line") {
    for (const std::string kept :
         {"clusters of 64", "clusters of 1, neighbours", "tiles 1000x16, k = 1", "as it was"}) {
        CAPTURE(kept);
        const PdhgProblem s = fresh_problem();
        std::string remark;
        CHECK(settle(s, kept, false, &remark) == "");
        CHECK(remark.find("\"" + kept + "\", is ignored: ") != std::string::npos);
        CHECK(remark.find('\n') == std::string::npos);
        CHECK(cuda::mapping_name(cuda::pdhg_mapping(s)) == cuda::mapping_name(pdhg::mappings_by_cost(s)[0]));
        check_run(s);
    }
}

TEST_CASE("the first question for a workspace settles the mapping") {
    const PdhgProblem s = fresh_problem();
    const std::size_t bytes = cuda::pdhg_workspace_bytes(s);
    CHECK(settle(s, other, true) == "");
    CHECK(cuda::mapping_name(cuda::pdhg_mapping(s)) != other);
    CHECK(cuda::pdhg_workspace_bytes(s) == bytes);
}

TEST_CASE("of each way to lay out solves one is timed") {
    std::set<std::string> names;
    for (const PdhgMapping& mapping : pdhg::mappings_to_time(fresh_problem()))
        names.insert(cuda::mapping_name(mapping));
    std::vector<std::string> wanted = {"global", "clusters of 1"};
    if (gpu::device().largest_cluster >= 8) {
        wanted.push_back("clusters of 8");
        wanted.push_back("clusters of 8, neighbours");
    }
    for (const std::string& name : wanted) CHECK_MESSAGE(names.contains(name), name);
    for (const int steps : {1, 2, 4, 8}) {
        const std::string end = text("k = ", steps);
        CHECK_MESSAGE(std::any_of(names.begin(), names.end(),
                                  [&](const std::string& name) {
                                      return name.starts_with("tiles") && name.ends_with(end);
                                  }),
                      end);
    }
}

#ifdef TVMAP_EMULATED

/// While it lives, the emulated device is said to keep time.
struct Clock {
    Clock() { set(true); }
    ~Clock() { set(false); }
    static void set(bool keeps_time) {
        gpu::Device device = gpu::device();
        device.keeps_time = keeps_time;
        emulation::set_device(device);
    }
};

/// A machine's folder of one test's own.
struct Machine {
    Machine() { ::setenv("XDG_CACHE_HOME", folder.path.c_str(), 1); }
    ~Machine() { ::unsetenv("XDG_CACHE_HOME"); }
    const TemporaryFolder folder;
};

std::string key_of(const Backend& backend, const PdhgProblem& s) {
    return text(backend.algorithm_key(), " | solver 1x8x", s.width, ", separate maps");
}

TEST_CASE("a device that keeps time times each mapping once, and the machine keeps the fastest") {
    const Machine machine;
    const auto backend = tvmap_cuda_library()->open("fp32");
    const PdhgProblem s = fresh_problem();
    {
        const Clock clock;
        check_run(fresh_problem());  // and so no kernel is on record
        settle_solver_mapping(*backend, s);
        for (const char* kernel :
             {"pdhg_tiles_kernel", "pdhg_cluster_kernel", "pdhg_neighbours_kernel", "pdhg_dual_kernel"})
            CHECK_MESSAGE(emulation::launched().contains(kernel), kernel);
        check_run(s);
        const std::string choice = settle(s, "", true);
        CHECK(emulation::launched().empty());
        REQUIRE(cuda::mapping_named(choice));
        CHECK(backend->pdhg_mapping_name(s) == choice);
        CHECK(Algorithms::of_machine().find(key_of(*backend, s)) == choice);
    }
    // As another process finds it: a problem whose choice is kept, for which nothing is timed.
    const PdhgProblem kept = fresh_problem();
    Algorithms algorithms;
    algorithms.store(key_of(*backend, kept), other);
    algorithms.save_for_machine();
    const Clock clock;
    settle_solver_mapping(*backend, kept);
    CHECK(backend->pdhg_mapping_name(kept) == other);
    CHECK(emulation::launched().empty());
}

TEST_CASE("a kept choice that is damaged is noted, and not kept") {
    const auto backend = tvmap_cuda_library()->open("fp32");
    const PdhgProblem s = fresh_problem();
    Algorithms algorithms;
    algorithms.store(key_of(*backend, s), "clusters of 12");
    CHECK_FALSE(settle_solver_mapping(*backend, algorithms, s));  // this device keeps no time
    REQUIRE(algorithms.notes().size() == 1);
    CHECK(algorithms.notes()[0].find("\"clusters of 12\", is ignored") != std::string::npos);
    CHECK(backend->pdhg_mapping_name(s) == cuda::mapping_name(pdhg::mappings_by_cost(s)[0]));
}

TEST_CASE("what plans without timing, or borrows, times no mapping") {
    const Clock clock;
    const auto backend = tvmap_cuda_library()->open("fp32");
    check_run(fresh_problem());  // and so no kernel is on record
    for (const bool borrows : {false, true}) {
        Algorithms algorithms;
        algorithms.borrow(borrows);
        if (!borrows) algorithms.plan_untimed(Algorithms::Untimed::most);
        PdhgProblem s = fresh_problem();
        s.solves = 3;
        CHECK_FALSE(settle_solver_mapping(*backend, algorithms, s));
        CHECK(backend->pdhg_mapping_name(s) == cuda::mapping_name(pdhg::mappings_by_cost(s)[0]));
    }
    CHECK(emulation::launched().empty());
}

#endif
