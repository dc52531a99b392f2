// Choices of algorithms outlive the machine, the threads and the library that they were made for: a stale one
// in the machine's cache is replaced, one in a run's file stops with the file's name.
#include "engine/graph/algorithms.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/graph/operations.h"
#include "engine/graph/plan.h"
#include "kernels/backend.h"
#include "kernels/base/error.h"
#include "tests/support/run_on.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;

namespace {

using Choices = std::map<std::string, std::string>;

Choices read_choices(const std::string& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file).get<Choices>();
}

void write_choices(const std::string& path, const Choices& choices) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << nlohmann::json(choices);
}

/// A machine's cache of one test's own.
struct Machine {
    Machine() { ::setenv("XDG_CACHE_HOME", folder.path.c_str(), 1); }
    ~Machine() { ::unsetenv("XDG_CACHE_HOME"); }
    std::string cache() const { return folder / "tvmap/algorithms.json"; }
    const TemporaryFolder folder;
};

/// Plans a network of which two convolutions have something to choose: the first has a kernel of its own.
void plan(Algorithms& algorithms) {
    const auto backend = make_backend("cpu");
    Graph graph(backend->channel_block(16));
    const Value x = graph.input("x", 1, 1, 12, 10);
    const Value first = convolution(graph, x, "first", 16, 3, 0.01f);
    const Value a = convolution(graph, first, "a", 24, 3, 0.01f);
    graph.keep(convolution(graph, a, "b", 16, 3, 0.01f));
    const Plan planned(std::move(graph), *backend, algorithms, false);
}

/// What a new machine chooses.
Choices chosen() {
    Algorithms algorithms;
    plan(algorithms);
    const TemporaryFolder folder;
    algorithms.save(folder / "algorithms.json");
    Choices choices = read_choices(folder / "algorithms.json");
    std::erase_if(choices, [](const auto& entry) { return entry.second.find('=') == std::string::npos; });
    return choices;
}

Choices with_every_choice(Choices choices, const std::string& choice) {
    for (auto& entry : choices) entry.second = choice;
    return choices;
}

}  // namespace

TEST_CASE("the key names what a choice depends on") {
    const auto backend = make_backend("cpu");
    std::string one, two;
    {
        const RunOn on(1);
        one = backend->algorithm_key();
    }
    {
        const RunOn on(2);
        two = backend->algorithm_key();
    }
    CHECK(one.find("1 threads") != std::string::npos);
    CHECK(one.find("oneDNN ") != std::string::npos);
    CHECK(one != two);
    for (const auto& [problem, choice] : chosen()) {
        CHECK(problem.find(backend->algorithm_key() + " | conv3x3") == 0);
        CHECK(choice.find("forward=") == 0);
    }
}

TEST_CASE("choices that no longer work are measured anew where they come from the machine's cache") {
    const Machine machine;
    const Choices good = chosen();
    const std::size_t others =
        make_backend("cpu")->channel_block(16) > 1 ? 1 : 0;  // with a kernel of their own
    CHECK(good.size() + others == 3);
    for (const char* stale : {"forward=jit:avx1024", "nonsense", "pointwise", "weights=ref:any"}) {
        CAPTURE(stale);
        Choices cache = with_every_choice(good, stale);
        cache["another machine | conv3x3"] = "as it was";
        write_choices(machine.cache(), cache);
        Algorithms algorithms = Algorithms::of_machine();
        plan(algorithms);
        algorithms.save_for_machine();
        const Choices repaired = read_choices(machine.cache());
        CHECK(repaired.size() == 4);
        CHECK(repaired.at("another machine | conv3x3") == "as it was");
        for (const auto& entry : good) CHECK(repaired.at(entry.first).find("forward=") == 0);
        Algorithms again = Algorithms::of_machine();
        for (const auto& entry : good) CHECK(again.find(entry.first) == repaired.at(entry.first));
    }
}

TEST_CASE("choices that work are taken, not measured again") {
    // oneDNN's plain loops: no measurement would choose them.
    const Machine machine;
    const Choices slow = with_every_choice(chosen(), "forward=ref:any");
    write_choices(machine.cache(), slow);
    const std::string run = machine.folder / "run.json";
    write_choices(run, slow);
    for (Algorithms algorithms : {Algorithms::of_machine(), Algorithms::read(run)}) {
        plan(algorithms);
        algorithms.save(machine.folder / "used.json");
        Choices used = read_choices(machine.folder / "used.json");
        for (const auto& [problem, choice] : slow) CHECK(used[problem] == choice);
        CHECK(used.size() == 3);
    }
}

TEST_CASE("choices of a run that do not work stop it, with the file's name and the way on") {
    const Machine machine;
    const std::string file = machine.folder / "run.json";
    write_choices(file, with_every_choice(chosen(), "forward=jit:avx1024"));
    Algorithms algorithms = Algorithms::read(file);
    std::string message;
    try {
        plan(algorithms);
    } catch (const Error& error) {
        message = error.what();
    }
    CHECK(message.find(file + ": ") == 0);
    CHECK(message.find("avx1024") != std::string::npos);
    CHECK(message.find("delete the file to measure again") != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
}

TEST_CASE("a run keeps the choices of its earlier threads; only what is in use comes from the cache") {
    const Machine machine;
    const std::string file = machine.folder / "run.json";
    write_choices(file, {{"two threads", "a"}, {"one thread", "b"}});
    Algorithms run = Algorithms::read(file);
    CHECK(run.find("two threads") == "a");
    run.store("three threads", "c");
    run.store("one thread", "d");
    run.save(file);
    CHECK(read_choices(file) == Choices{{"two threads", "a"}, {"three threads", "c"}, {"one thread", "d"}});

    write_choices(machine.cache(), {{"mine", "a"}, {"another's", "b"}});
    Algorithms fresh = Algorithms::of_machine();
    CHECK(fresh.find("mine") == "a");
    CHECK(fresh.find("nobody's").empty());
    fresh.store("mine", "a");
    fresh.save(file);
    CHECK(read_choices(file) == Choices{{"mine", "a"}});
    fresh.save_for_machine();
    CHECK(read_choices(machine.cache()) == Choices{{"mine", "a"}, {"another's", "b"}});
}

TEST_CASE("a broken cache counts as empty, a broken file of a run is refused") {
    const Machine machine;
    for (const char* broken : {"", "{", "[1, 2]", R"({"problem": 3})"}) {
        CAPTURE(broken);
        write_choices(machine.cache(), {});
        std::ofstream(machine.cache()) << broken;
        CHECK(Algorithms::of_machine().find("problem").empty());
        CHECK_THROWS_AS(Algorithms::read(machine.cache()), Error);
    }
    CHECK_THROWS_AS(Algorithms::read(machine.folder / "none.json"), Error);
}
