// One rule for weights that are used and runs that go on under other settings.
#include "engine/config/agreement.h"

#include <doctest/doctest.h>

#include "kernels/base/error.h"
#include "tests/support/refusal.h"

using namespace tvmap;

namespace {

Config with(const std::string& setting) { return parse_config("", "test", {setting}); }

}  // namespace

TEST_CASE("differences are those of values, in the order of the keys, without places") {
    const Config config;
    CHECK(differences(config, config).empty());
    CHECK(differences(config, parse_config(config.to_yaml(), "again")).empty());
    const std::vector<Difference> found = differences(
        config, parse_config("", "test",
                             {"map.scale=0.2", "seed=7", "output.name=other", "device=cpu", "data.train=x",
                              "evaluate.sigma=[0.1,0.5]", "train.memory_limit=2GiB"}));
    REQUIRE(found.size() == 3);
    CHECK(describe(found[0]) == "seed: 42 -> 7");
    CHECK(describe(found[1]) == "map.scale: 0.1 -> 0.2");
    CHECK(describe(found[2]) == "evaluate.sigma: 0.5 -> [0.1, 0.5]");
}

TEST_CASE("weights are used as they were trained; the rest is told") {
    const Config trained;
    for (const char* setting :
         {"map.kind=separate", "map.scale=0.2", "map.up_bound=1", "network.slope=0.1",
          "network.channels=[32]", "network.outputs=1", "noise.relative_to=one", "solver.theta=0.5",
          "solver.tau=0.1", "solver.sigma=0.1", "solver.norm=auto", "solver.dual_start=image",
          "solver.boundary=neumann", "solver.train_steps=shared"}) {
        CAPTURE(setting);
        const std::string key = std::string(setting).substr(0, std::string(setting).find('='));
        const std::string message = refusal([&] { check_use(trained, with(setting), "FILE"); });
        CHECK(message.starts_with("FILE: was trained with " + key + ": "));
        CHECK(refusal([&] {
                  check_continuation(trained, with(setting), "FILE");
              }).starts_with("FILE: the run"));
    }
    // To a network that sees the noise at one scale, what its strength is given in says nothing.
    const Config scaled = parse_config("", "test", {"network.normalise=noise"}),
                 absolute = parse_config("", "test", {"network.normalise=noise", "noise.relative_to=one"});
    CHECK(check_use(scaled, absolute, "FILE").size() == 1);
    for (const char* setting : {"seed=1", "evaluate.iterations=8", "optimiser.rate=1", "train.epochs=1",
                                "data.test=x", "network.precision=tf32", "solver.iterations=8"}) {
        CAPTURE(setting);
        CHECK(check_use(trained, with(setting), "FILE").size() == 1);
    }
}

TEST_CASE("a run goes on under the settings that it was started with") {
    const Config begun;
    for (const char* setting : {"seed=1",
                                "data.size=128",
                                "noise.sigma=0.3",
                                "network.precision=tf32",
                                "solver.iterations=8",
                                "solver.gradient=stored",
                                "solver.implicit.cap=5",
                                "optimiser.rate=1",
                                "optimiser.schedule=cosine",
                                "optimiser.warmup=3",
                                "optimiser.kind=adamw",
                                "optimiser.clip=1",
                                "train.ema=0.9",
                                "train.rotate=true",
                                "train.accumulate=2",
                                "train.time=30m",
                                "train.batch=2",
                                "train.crop=64",
                                "train.flip=true",
                                "train.loss=log_mse",
                                "evaluate.iterations=8"}) {
        CAPTURE(setting);
        CHECK(refusal([&] { check_continuation(begun, with(setting), "FILE"); }).find("not ") !=
              std::string::npos);
    }
    for (const char* setting : {"train.validate_every=2", "train.stop_after=3", "train.checkpoint_every=2",
                                "train.checkpoint_seconds=2", "evaluate.sigma=0.3", "data.test=x",
                                "data.limit.test=3", "evaluate.search.count=3"})
        CHECK(check_continuation(begun, with(setting), "FILE").size() == 1);
    for (const char* setting :
         {"data.train=x", "data.val=x", "data.limit.train=3", "output.folder=x", "device=cpu"})
        CHECK(check_continuation(begun, with(setting), "FILE").empty());
}

TEST_CASE("the end of a schedule moves by name alone, that of a constant rate freely") {
    const std::vector<std::string> epochs{"train.epochs"}, none;
    const auto changes = [&](const std::string& schedule) {
        const auto config = [&](const char* count) {
            return parse_config("", "test",
                                {"optimiser.schedule=" + schedule, std::string("train.epochs=") + count});
        };
        return check_continuation(config("2"), config("4"), "FILE");
    };
    CHECK(refusal([&] { check_named(changes("constant"), none, "FILE"); }) == "accepted");
    CHECK(refusal([&] { check_named(changes("cosine"), epochs, "FILE"); }) == "accepted");
    CHECK(refusal([&] { check_named(changes("cosine"), none, "FILE"); }).find("--change train.epochs") !=
          std::string::npos);
    const auto longer = [&](const std::string& schedule, const char* what) {
        const auto config = [&](const std::string& end) {
            return parse_config("", "test", {"optimiser.schedule=" + schedule, "train.time=3", end});
        };
        return check_continuation(config("seed=42"), config(what), "FILE");
    };
    // By time, epochs end nothing.
    CHECK(refusal([&] { check_named(longer("cosine", "train.epochs=9"), none, "FILE"); }) == "accepted");
    for (const char* other : {"optimiser.rate", "epochs", ""})
        CHECK(
            refusal([&] { check_named({}, {other}, "FILE"); }).starts_with(std::string("--change ") + other));
}
