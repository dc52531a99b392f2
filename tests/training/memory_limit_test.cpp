// The largest batch that fits a limit: the search alone, plans that borrow their algorithms and allocate
// nothing, and the memory of a run by owner.
#include "engine/training/memory_limit.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/training/process_memory.h"
#include "engine/training/training_plan.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;

namespace {

/// Searches and checks the answer against all batches, one after the other. Returns how many were asked for.
int check_search(std::size_t limit, int first, int most, const std::function<std::size_t(int)>& bytes) {
    int probes = 0;
    const LargestBatch largest = largest_batch(limit, first, most, [&](int batch) {
        CHECK(batch >= 1);
        CHECK(batch <= most);
        ++probes;
        return bytes(batch);
    });
    CAPTURE(limit);
    CAPTURE(first);
    CAPTURE(largest.batch);
    if (largest.batch > 0) {
        CHECK(largest.predicted == bytes(largest.batch));
        CHECK(largest.predicted <= limit);
    }
    if (largest.batch < most) {
        CHECK(largest.next == bytes(largest.batch + 1));
        CHECK(largest.next > limit);
    } else {
        CHECK(largest.next == 0);
    }
    return probes;
}

/// A network so small that the choice of its algorithms takes no time, in a cache of its own.
struct SmallRun {
    SmallRun() {
        set_threads(1);
        ::setenv("XDG_CACHE_HOME", folder.path.c_str(), 1);
        config.data.size = 16;
        config.network.channels = {4, 6};
        config.solver.iterations = 6;
    }
    ~SmallRun() { ::unsetenv("XDG_CACHE_HOME"); }
    TemporaryFolder folder;
    Config config;
    std::unique_ptr<Backend> backend = make_backend("cpu");
};

}  // namespace

TEST_CASE("the largest batch, whatever the bytes look like") {
    const auto affine = [](int n) { return std::size_t(40000 + 1170 * n); };
    for (const std::size_t limit : {0, 41169, 41170, 41171, 52870, 100000, 250000, 9000000})
        for (const int first : {1, 2, 16, 100}) CHECK(check_search(limit, first, 100, affine) <= 6);
    // Workspaces come and go with the algorithms: the answer is right where it is, and still found.
    const auto steps = [](int n) { return std::size_t(1000 * (n / 7) + 3 * n + (n % 5 == 0 ? 500 : 0)); };
    const auto flat = [](int n) { return std::size_t(n < 60 ? 10 : 1000000); };
    const auto falling = [](int n) { return std::size_t(n == 1 ? 900 : n == 2 ? 300 : 250 * n); };
    for (const auto& bytes : {std::function<std::size_t(int)>(steps), {flat}, {falling}})
        for (std::size_t limit = 0; limit < 30000; limit += 371)
            for (const int first : {1, 3, 50}) check_search(limit, first, 200, bytes);
}

TEST_CASE("a plan allocates nothing: it can exceed the address space") {
    SmallRun run;
    Algorithms algorithms;
    run.config.data.size = 64;
    run.config.train.batch = 2;
    run.config.solver.gradient.kind = GradientMode::Kind::stored;
    run.config.solver.iterations = 1 << 30;
    const TrainingPlan plan(*run.backend, run.config, algorithms, {8, 8});
    // x, x̄, p and q of every step but the first.
    CHECK(plan.memory.predicted() > 20ull * 2 * 64 * 64 * ((1ull << 30) - 1));
    CHECK(plan.memory.predicted() > 1ull << 47);
    CHECK_THROWS_AS(Arena(*run.backend, plan.arena_bytes), Error);
}

TEST_CASE("batches that were never timed borrow from a smaller one, and the machine does not remember it") {
    SmallRun run;
    run.config.train.memory_limit = 1;
    const auto planned = [&](Algorithms& algorithms, int batch) {
        run.config.train.batch = batch;
        return TrainingPlan(*run.backend, run.config, algorithms, {8, 8}).memory.predicted();
    };
    Algorithms algorithms;
    planned(algorithms, 9);
    const std::string file = run.folder / "run.json";
    algorithms.save(file);
    algorithms.save_for_machine();
    // The run's file has the batch of 9, so that the run goes on with the same bits; the machine's does not.
    const std::string key = run.backend->algorithm_key() + " | conv3x3 n";
    const auto knows = [&](const Algorithms& a, int batch) {
        return !a.find(key + std::to_string(batch) + " 1b1>4b1 16x16 slope 0.01 training").empty();
    };
    CHECK(knows(Algorithms::read(file), 9));
    CHECK(knows(Algorithms::read(file), 2));
    CHECK(!knows(Algorithms::of_machine(), 9));
    CHECK(knows(Algorithms::of_machine(), 2));
    CHECK(!knows(algorithms, 8));
}

TEST_CASE("owners share the arena out to the last byte") {
    SmallRun run;
    Algorithms algorithms;
    for (const int batch : {1, 3}) {
        run.config.train.batch = batch;
        const TrainingPlan plan(*run.backend, run.config, algorithms, {8, 8});
        std::size_t tensors = 0, all = 0;
        for (const MemoryOwner& owner : plan.memory.owners) {
            all += owner.predicted;
            for (const char* name : {"values", "gradients", "saved", "workspace", "gaps", "validation"})
                if (owner.name == name) tensors += owner.predicted;
        }
        CHECK(tensors == plan.arena_bytes);
        CHECK(all == plan.memory.predicted());
        Parameters parameters(*run.backend, plan.steps[0]->graph().parameters(), true);
        CHECK(parameters.bytes() == plan.parameter_bytes);

        // Measured, an owner has what it touched: everything, then nothing but the parameters' first page.
        MemoryReport memory = plan.memory;
        const Arena untouched(*run.backend, plan.arena_bytes), filled(*run.backend, plan.arena_bytes);
        std::memset(filled.memory(), 1, plan.arena_bytes);
        measure(memory, *run.backend, {{plan.steps[0].get(), &filled}}, parameters, memory.predicted());
        for (const char* name : {"values", "gradients", "saved", "workspace", "gaps", "validation"})
            CHECK(memory[name].measured == memory[name].predicted);
        CHECK(memory["values"].measured > 0);
        measure(memory, *run.backend, {{plan.steps[0].get(), &untouched}}, parameters, memory.predicted());
        CHECK(memory["values"].measured == 0);
        std::size_t others = 0;
        for (const char* name : {"primitives", "batches", "pictures", "timing"})
            others += memory[name].measured;
        CHECK(others == memory.measured);
    }
}

TEST_CASE("resident bytes of a range count whole and partial pages that were touched") {
    const auto backend = make_backend("cpu");
    constexpr std::size_t page = 4096, pages = 16;
    auto* memory = static_cast<unsigned char*>(backend->allocate(page * pages));
    CHECK(resident_bytes(memory, page * pages) == 0);
    memory[3 * page + 5] = 1;
    memory[4 * page] = 1;
    CHECK(resident_bytes(memory, page * pages) == 2 * page);
    CHECK(resident_bytes(memory + 3 * page + 100, 2 * page) == 2 * page - 100);
    CHECK(resident_bytes(memory + 8 * page, page) == 0);
    backend->release(memory, page * pages);
}
