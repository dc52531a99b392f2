// Experiments: defaults, every key, round trip, sweeps, and the messages for what is wrong.
#include "engine/config/config.h"

#include <doctest/doctest.h>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "kernels/base/error.h"
#include "tests/support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using tvmap::Config;

/// A configuration file with this text.
struct File {
    TemporaryFolder folder;
    std::string path = folder / "experiment.yaml";
    explicit File(const std::string& text) { std::ofstream(path) << text; }
};

Config config(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return tvmap::read_config(File(text).path, overrides);
}

/// The message, with the file's name as FILE.
template <class Read>
std::string message(const std::string& text, Read read) {
    const File file(text);
    try {
        read(file.path);
    } catch (const tvmap::Error& error) {
        std::string message = error.what();
        CHECK(message.find('\n') == std::string::npos);
        for (std::size_t at; (at = message.find(file.path)) != std::string::npos;)
            message.replace(at, file.path.size(), "FILE");
        return message;
    }
    return "accepted";
}

std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return message(text, [&](const std::string& path) { tvmap::read_config(path, overrides); });
}

std::string sweep_refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return message(text, [&](const std::string& path) { tvmap::read_sweep(path, overrides); });
}

bool has(const std::string& message, const std::string& part) {
    INFO(message);
    return message.find(part) != std::string::npos;
}
#define CHECK_REFUSED(text, start)             \
    do {                                       \
        const std::string got = refusal(text); \
        INFO(got);                             \
        CHECK(got.rfind(start, 0) == 0);       \
    } while (false)

// No value is the default, so that a key that is dropped or swapped with another shows.
const std::string every_key = R"(
seed: 18446744073709551615
device: cpu
data: {train: /a, val: /b, test: "/c: #d", size: 64, limit: {train: 3, val: 4, test: 5}, picture_limit: 2 MB}
noise: {sigma: 0.25, relative_to: one, source: given}
network: {channels: [8, 16], outputs: 3, slope: 0.2, precision: bf16}
map: {kind: separate, scale: 0.3, up_bound: 0.7}
solver: {iterations: 17, norm: auto, tau: 0.125, sigma: 0.0625, theta: 0.5, dual_start: image, boundary: neumann, gradient: truncated:7, implicit: {tolerance: 1e-3, cap: 77}}
optimiser: {kind: adamw, rate: 3e-3, betas: [0.8, 0.99], eps: 1e-7, schedule: step, warmup: 9, weight_decay: 0.03, clip: 0.6, milestones: [0.3, 0.8], factor: 0.2}
train: {epochs: 11, batch: 6, crop: 32, flip: true, loss: mse, validate_every: 2, checkpoint_every: 7, checkpoint_seconds: 2.5, memory_limit: 1.5 GiB, ema: 0.99, stop_after: 5, rotate: true, accumulate: 4, time: 1.5h, supervision: sure, r2r: {alpha: 0.4}, sure: {epsilon: 0.25}}
evaluate: {sigma: [0.2, 0.4], iterations: 99, search: {from: 0.1, to: 0.3, count: 21}, draws: 4, orientations: 8}
output: {folder: f, name: n}
)";

void check_every_key(const Config& c) {
    CHECK(c.seed == 18446744073709551615ull);
    CHECK(c.device == "cpu");
    CHECK(c.data.train == "/a");
    CHECK(c.data.val == "/b");
    CHECK(c.data.test == "/c: #d");
    CHECK(c.data.size == 64);
    CHECK(c.data.limit.train == 3);
    CHECK(c.data.limit.val == 4);
    CHECK(c.data.limit.test == 5);
    CHECK(c.noise.sigma.from == 0.25);
    CHECK(c.noise.sigma.to == 0.25);
    CHECK(!c.noise.relative_to_image_std);
    CHECK(c.network.channels == std::vector<int>{8, 16});
    CHECK(c.network.outputs == 3);
    CHECK(c.network.slope == 0.2);
    CHECK(c.network.precision == "bf16");
    CHECK(c.map.separate);
    CHECK(c.data.picture_limit == 2000000);
    CHECK(c.map.scale == 0.3);
    CHECK(c.map.up_bound == 0.7);
    CHECK(c.solver.iterations == 17);
    CHECK(c.solver.norm_auto);
    CHECK(c.solver.tau == 0.125);
    CHECK(c.solver.sigma == 0.0625);
    CHECK(c.solver.theta == 0.5);
    CHECK(c.solver.dual_start == tvmap::DualStart::image);
    CHECK(c.solver.boundary == tvmap::Boundary::neumann);
    CHECK(c.solver.gradient.name() == "truncated:7");
    CHECK(c.solver.gradient.tolerance == 1e-3);
    CHECK(c.solver.gradient.cap == 77);
    CHECK(c.optimiser.rate == 3e-3);
    CHECK(c.optimiser.beta1 == 0.8);
    CHECK(c.optimiser.beta2 == 0.99);
    CHECK(c.optimiser.eps == 1e-7);
    CHECK(c.optimiser.decoupled_decay);
    CHECK(c.optimiser.schedule == tvmap::RateSchedule::step);
    CHECK(c.optimiser.weight_decay == 0.03);
    CHECK(c.optimiser.clip == 0.6);
    CHECK(c.optimiser.milestones == std::vector<double>{0.3, 0.8});
    CHECK(c.optimiser.factor == 0.2);
    CHECK(c.optimiser.warmup == 9);
    CHECK(c.train.epochs == 11);
    CHECK(c.train.batch == 6);
    CHECK(c.train.crop == 32);
    CHECK(c.train.flip);
    CHECK(c.train.validate_every == 2);
    CHECK(c.train.checkpoint_every == 7);
    CHECK(c.train.checkpoint_seconds == 2.5);
    CHECK(c.train.memory_limit == 1610612736);
    CHECK(c.train.ema == 0.99);
    CHECK(c.train.stop_after == 5);
    CHECK(c.train.rotate);
    CHECK(c.train.accumulate == 4);
    CHECK(c.train.time == 5400);
    CHECK(c.noise.source == tvmap::NoiseSource::given);
    CHECK(c.train.supervision == tvmap::Supervision::sure);
    CHECK(c.train.r2r_alpha == 0.4);
    CHECK(c.train.sure_epsilon == 0.25);
    CHECK(c.evaluate.sigma.from == 0.2);
    CHECK(c.evaluate.sigma.to == 0.4);
    CHECK(c.evaluate.iterations == 99);
    CHECK(c.evaluate.search.from == 0.1);
    CHECK(c.evaluate.search.to == 0.3);
    CHECK(c.evaluate.search.count == 21);
    CHECK(c.evaluate.draws == 4);
    CHECK(c.evaluate.orientations == 8);
    CHECK(c.output.folder == "f");
    CHECK(c.output.name == "n");
}

}  // namespace

TEST_CASE("every key reaches its member, and comes back through to_yaml") {
    const Config read = config(every_key);
    check_every_key(read);
    check_every_key(config(read.to_yaml()));
    CHECK(config(read.to_yaml()).to_yaml() == read.to_yaml());
}

TEST_CASE("losses and supervision have their words") {
    CHECK(config("train: {loss: log_mse}").train.loss == tvmap::LossKind::log_mse);
    CHECK(config("").train.supervision == tvmap::Supervision::clean);
    CHECK(config("train: {supervision: r2r}").train.supervision == tvmap::Supervision::r2r);
    CHECK(config("train: {supervision: pairs}").train.supervision == tvmap::Supervision::pairs);
    CHECK(config("train: {supervision: sure}\nnoise: {source: estimated}").noise.source ==
          tvmap::NoiseSource::estimated);
}

TEST_CASE("training without clean images refuses what would mislead it") {
    for (const std::string supervision : {"r2r", "sure", "pairs"}) {
        CHECK_REFUSED("train:\n    loss: log_mse\n    supervision: " + supervision,
                      "FILE:2: train.loss: log_mse goes with train.supervision: clean alone");
        CHECK_REFUSED("train: {supervision: " + supervision + "}\nsolver: {operator: mask}",
                      "FILE:1: train.supervision: without clean images");
    }
    for (const std::string supervision : {"clean", "pairs"})
        CHECK_REFUSED("train: {supervision: " + supervision + "}\nnoise: {source: estimated}",
                      "FILE:2: noise.source: images that are noisy already");
    CHECK_REFUSED("train: {supervision: r2r}\nnoise: {source: given}", "FILE:2: noise.source: given needs");
    CHECK_REFUSED("train: {supervision: r2r}\nnoise: {source: given, sigma: 0.1}",
                  "FILE:2: noise.source: given needs");
    CHECK_REFUSED("train: {r2r: {alpha: 1}}", "FILE:1: train.r2r.alpha: 1 is impossible");
    CHECK_REFUSED("train: {r2r: {alpha: 0}}", "FILE:1: train.r2r.alpha: 0 is impossible");
    CHECK_REFUSED("train: {sure: {epsilon: 0}}", "FILE:1: train.sure.epsilon: 0 is impossible");
}

TEST_CASE("an empty file is the default experiment") {
    const Config c = config("");
    CHECK(c.to_yaml() == Config{}.to_yaml());
    CHECK(config("# nothing but a comment\n").to_yaml() == Config{}.to_yaml());
    CHECK(c.solver.iterations == 256);
    CHECK(c.network.channels == std::vector<int>{32, 64, 128, 256});
    CHECK(c.optimiser.rate == 1e-4);
}

TEST_CASE("numbers keep every bit through to_yaml") {
    Config c;
    for (double value : {1.0 / 3, 0.1, 1e-300, 123456789.123456789, 3.605551275463989}) {
        c.map.scale = value;
        CHECK(config(c.to_yaml()).map.scale == value);
    }
}

TEST_CASE("bytes: as a number, or with a decimal or a binary unit") {
    const auto limit = [](const std::string& value) {
        return config("train: {memory_limit: " + value + "}").train.memory_limit;
    };
    CHECK(limit("0") == 0);
    CHECK(limit("123456789") == 123456789);
    CHECK(limit("7B") == 7);
    CHECK(limit("250MB") == 250000000);
    CHECK(limit("0.25 kB") == 250);
    CHECK(limit("3GB") == 3000000000);
    CHECK(limit("4KiB") == 4096);
    CHECK(limit("2MiB") == 2097152);
    for (const std::string value : {"-1", "250mb", "MB", "1.5", "1.2.3MB", "2 G", "[1]", "1e99GB", "''"})
        CHECK_REFUSED("train: {memory_limit: " + value + "}", "FILE:1: train.memory_limit: got");
}

TEST_CASE("overrides") {
    CHECK(config("solver: {iterations: 8}", {"solver.iterations=16"}).solver.iterations == 16);
    CHECK(config("", {"network.channels=[4, 8]", "data.size=10"}).network.channels == std::vector<int>{4, 8});
    CHECK(config("", {"noise.sigma=[0, 0.2]"}).noise.sigma.to == 0.2);
    CHECK(config("", {"data.train=/a=b"}).data.train == "/a=b");
    CHECK(config("", {"data.limit={train: 7, test: 9}"}).data.limit.test == 9);
    const auto set = [](const std::string& override) { return refusal("", {override}); };
    CHECK(has(set("solver.iterations=0"),
              "--set solver.iterations=0: solver.iterations: 0 is too small; give 1 or more"));
    CHECK(has(set("solver.iteration=8"),
              "--set solver.iteration=8: unknown key solver.iteration; the nearest known key is "
              "solver.iterations"));
    CHECK(has(set("solver.iterations=many"),
              "--set solver.iterations=many: solver.iterations: got 'many'; give a whole number"));
    CHECK(has(set("solver.iterations="), "got nothing"));
    CHECK(has(set("solver.iterations"), "not of the form key=value"));
    CHECK(has(set("=3"), "not of the form key=value"));
    CHECK(has(set("network.channels=[4"), "got '[4'; give a list of whole numbers"));
    CHECK(has(set("solver=8"), "section"));
    CHECK(has(refusal("", {"seed=1", "seed=2"}), "set twice"));
}

TEST_CASE("unknown keys: file, line, and the nearest known key") {
    CHECK_REFUSED("seed: 1\nsolver:\n  iteration: 8\n",
                  "FILE:3: unknown key solver.iteration; the nearest known key is solver.iterations");
    CHECK_REFUSED("optimizer: {rate: 1}",
                  "FILE:1: unknown key optimizer; the nearest known key is optimiser");
    CHECK_REFUSED("batch: 4", "FILE:1: unknown key batch; the nearest known key is train.batch");
    CHECK_REFUSED("\n\nsolver: {rate: 4}",
                  "FILE:3: unknown key solver.rate; the nearest known key is optimiser.rate");
    CHECK_REFUSED("sweeep: {}", "FILE:1: unknown key sweeep; the nearest known key is sweep");
    CHECK_REFUSED("data: {limits: {train: 2}}",
                  "FILE:1: unknown key data.limits; the nearest known key is data.limit");
    CHECK_REFUSED("? [a, b]\n: 3\n", "FILE:1: a key must be a word");
}

TEST_CASE("given twice") {
    CHECK_REFUSED("seed: 1\ndevice: cpu\nseed: 1\n", "FILE:3: seed is given twice (first at FILE:1)");
    CHECK_REFUSED("solver:\n  tau: 0.1\n  tau: 0.1\n", "FILE:3: solver.tau is given twice (first at FILE:2)");
    CHECK_REFUSED("solver: {tau: 0.1}\ndevice: cpu\nsolver: {tau: 0.2}\n",
                  "FILE:3: solver.tau is given twice (first at FILE:1)");
}

TEST_CASE("wrong types") {
    CHECK_REFUSED("seed: -1", "FILE:1: seed: got '-1'");
    CHECK_REFUSED("seed: \"1\"", "FILE:1: seed: got '1'");
    CHECK_REFUSED("data: {size: 25.6}", "FILE:1: data.size: got '25.6'; give a whole number");
    CHECK_REFUSED("data: {size: 99999999999}", "FILE:1: data.size: got '99999999999'; give a whole number");
    CHECK_REFUSED("data: {size: 0x10}", "FILE:1: data.size: got '0x10'");
    CHECK_REFUSED("data: {train: [a]}", "FILE:1: data.train: got a list; give a text");
    CHECK_REFUSED("data: {train: }", "FILE:1: data.train: got nothing; give a text");
    CHECK_REFUSED("data: here", "FILE:1: data: got 'here'");
    CHECK_REFUSED("optimiser:\n  rate: .nan", "FILE:2: optimiser.rate: got '.nan'");
    CHECK_REFUSED("optimiser: {rate: nan}", "FILE:1: optimiser.rate: got 'nan'; give a finite number");
    CHECK_REFUSED("optimiser: {rate: 1e999}", "FILE:1: optimiser.rate: got '1e999'");
    CHECK_REFUSED("optimiser: {rate: 1e-4x}", "FILE:1: optimiser.rate: got '1e-4x'");
    CHECK_REFUSED("optimiser: {betas: [0.9]}", "FILE:1: optimiser.betas: got a list; give two numbers");
    CHECK_REFUSED("optimiser: {betas: [0.9, b]}", "FILE:1: optimiser.betas: got 'b'");
    CHECK_REFUSED("noise: {sigma: [1, 2, 3]}",
                  "FILE:1: noise.sigma: got a list; give a number or [from, to]");
    CHECK_REFUSED("noise: {sigma: {from: 1}}", "FILE:1: noise.sigma: got a section");
    CHECK_REFUSED("train: {flip: yes}", "FILE:1: train.flip: got 'yes'; give true or false");
    CHECK_REFUSED("network: {channels: 32}", "FILE:1: network.channels: got '32'; give a list");
    CHECK_REFUSED("network: {channels: [32, x]}", "FILE:1: network.channels: got 'x'; give a whole number");
    CHECK_REFUSED("network: {normalise: noise}\nsolver: {operator: blur}",
                  "FILE:1: network.normalise: noise is estimated of images as they are (solver.operator: "
                  "identity or poisson)");
    CHECK_REFUSED("network: {output: image}\nsolver: {operator: mask}",
                  "FILE:1: network.output: image goes with solver.operator: identity alone; give map");
    CHECK_REFUSED("network: {output: image}\nsolver: {train_steps: shared}",
                  "FILE:1: network.output: image has no");
    CHECK_REFUSED("map: {kind: both}", "FILE:1: map.kind: got 'both'; give one of shared | separate");
    CHECK_REFUSED("solver: {norm: big}", "FILE:1: solver.norm: got 'big'; give a number or auto");
    for (const std::string mode : {"checkpoints", "truncated", "truncated:0", "truncated:4.5"})
        CHECK_REFUSED("solver: {gradient: " + mode + "}",
                      "FILE:1: solver.gradient: got '" + mode +
                          "'; give one of masks | checkpoint | stored | truncated:K | implicit");
    CHECK_REFUSED("solver: {implicit: 3}", "FILE:1: solver.implicit: got '3'");
    CHECK_REFUSED("solver: {implicit: {steps: 3}}", "FILE:1: unknown key solver.implicit.steps");
    CHECK_REFUSED("optimiser: {kind: sgd}", "FILE:1: optimiser.kind: got 'sgd'; give one of adam | adamw");
    CHECK_REFUSED("optimiser: {schedule: linear}",
                  "FILE:1: optimiser.schedule: got 'linear'; give one of constant | cosine | step");
    CHECK_REFUSED("optimiser: {schedule: step, milestones: 0.5}",
                  "FILE:1: optimiser.milestones: got '0.5'; give a list of numbers");
    for (const std::string time : {"soon", "30 min", "-3s", "1e99h", "m", "[3]"})
        CHECK_REFUSED("train: {time: " + time + "}", "FILE:1: train.time: got ");
}

TEST_CASE("impossible values") {
    CHECK_REFUSED("data: {size: 0}", "FILE:1: data.size: 0 is too small; give 1 or more");
    CHECK_REFUSED("data: {limit: {val: 0}}", "FILE:1: data.limit.val: 0 is too small");
    CHECK_REFUSED("optimiser: {weight_decay: 0.1}",
                  "FILE:1: optimiser.weight_decay: weights decay with optimiser.kind: adamw alone");
    CHECK_REFUSED("optimiser: {kind: adamw, weight_decay: -1}",
                  "FILE:1: optimiser.weight_decay: -1 is too small");
    CHECK_REFUSED("optimiser: {kind: adamw, rate: 1, weight_decay: 1}",
                  "FILE:1: optimiser.weight_decay: 1 times optimiser.rate, 1, leaves nothing");
    CHECK_REFUSED("optimiser: {clip: -1}", "FILE:1: optimiser.clip: -1 is too small; give 0 or more");
    CHECK_REFUSED("optimiser: {schedule: cosine, milestones: [0.1]}",
                  "FILE:1: optimiser.milestones: they go with optimiser.schedule: step alone");
    CHECK_REFUSED("optimiser: {factor: 0.2}",
                  "FILE:1: optimiser.factor: it goes with optimiser.schedule: step alone");
    for (const std::string milestones : {"[0]", "[0.5, 0.5]", "[0.7, 0.3]", "[1]"})
        CHECK_REFUSED("optimiser: {schedule: step, milestones: " + milestones + "}",
                      "FILE:1: optimiser.milestones: ");
    CHECK_REFUSED("optimiser: {schedule: step, factor: 0}", "FILE:1: optimiser.factor: 0 is impossible");
    CHECK_REFUSED("train: {ema: 1}", "FILE:1: train.ema: 1 is impossible");
    CHECK_REFUSED("train: {stop_after: -1}", "FILE:1: train.stop_after: -1 is too small; give 0 or more");
    CHECK_REFUSED("train: {accumulate: 0}", "FILE:1: train.accumulate: 0 is too small; give 1 or more");
    CHECK_REFUSED("noise: {sigma: -0.1}", "FILE:1: noise.sigma: a noise level of -0.1 is impossible");
    CHECK_REFUSED("noise: {sigma: [0.5, 0.1]}", "FILE:1: noise.sigma: the range runs backwards");
    CHECK_REFUSED("evaluate: {sigma: [-1, 0.1]}", "FILE:1: evaluate.sigma: a noise level of -1");
    CHECK_REFUSED("network: {channels: []}", "FILE:1: network.channels: the list is empty");
    CHECK_REFUSED("network: {channels: [32, 0]}", "FILE:1: network.channels: 0 is too small");
    CHECK_REFUSED("network: {outputs: 0}", "FILE:1: network.outputs: 0 is too small");
    CHECK_REFUSED("network: {slope: 0}", "FILE:1: network.slope: 0 is impossible");
    CHECK_REFUSED("map:\n  kind: separate\nnetwork:\n  outputs: 1",
                  "FILE:2: map.kind: 2 maps need as many network.outputs or more, and there are 1");
    CHECK_REFUSED("map: {scale: 0}", "FILE:1: map.scale: 0 is impossible");
    CHECK_REFUSED("map: {up_bound: -1}", "FILE:1: map.up_bound: -1 is impossible");
    CHECK_REFUSED("solver: {iterations: 0}", "FILE:1: solver.iterations: 0 is too small; give 1 or more");
    CHECK_REFUSED("solver: {iterations: 8, gradient: truncated:9}",
                  "FILE:1: solver.gradient: truncated:9 counts more steps than there are iterations, 8");
    CHECK_REFUSED("solver: {implicit: {tolerance: -1}}",
                  "FILE:1: solver.implicit.tolerance: -1 is too small");
    CHECK_REFUSED("solver: {implicit: {cap: 0}}", "FILE:1: solver.implicit.cap: 0 is too small");
    CHECK_REFUSED("solver: {norm: 0}", "FILE:1: solver.norm: 0 is impossible");
    CHECK_REFUSED("solver: {norm: 2.9}", "FILE:1: solver.norm: tau·sigma·L² is 1.07");
    CHECK_REFUSED("solver: {tau: -1}", "FILE:1: solver.tau: -1 is impossible");
    CHECK_REFUSED("solver:\n  norm: 3\n  tau: 0.5", "FILE:3: solver.tau: tau·sigma·L² is 1.5");
    CHECK_REFUSED("solver: {norm: auto, sigma: 0.4}", "FILE:1: solver.sigma: tau·sigma·L² is 1.2");
    CHECK_REFUSED("solver: {theta: 1.5}", "FILE:1: solver.theta: 1.5 is impossible");
    CHECK_REFUSED("optimiser: {rate: -1e-4}", "FILE:1: optimiser.rate: -0.0001 is impossible");
    CHECK_REFUSED("optimiser: {betas: [0.9, 1]}", "FILE:1: optimiser.betas: 1 is impossible");
    CHECK_REFUSED("optimiser: {eps: 0}", "FILE:1: optimiser.eps: 0 is impossible");
    CHECK_REFUSED("optimiser: {warmup: -1}", "FILE:1: optimiser.warmup: -1 is too small");
    CHECK_REFUSED("train: {epochs: -1}", "FILE:1: train.epochs: -1 is too small");
    CHECK_REFUSED("train: {batch: 0}", "FILE:1: train.batch: 0 is too small");
    CHECK_REFUSED("train: {crop: 512}", "FILE:1: train.crop: 512 is larger than data.size");
    CHECK_REFUSED("train: {crop: 100}", "FILE:1: train.crop: 100 cannot be halved 3 times");
    CHECK_REFUSED("data: {size: 255}", "FILE:1: data.size: 255 cannot be halved 3 times");
    CHECK_REFUSED("network: {channels: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}",
                  "FILE: data.size: 256 cannot be halved 9 times");
    CHECK_REFUSED("evaluate: {iterations: 0}", "FILE:1: evaluate.iterations: 0 is too small");
    CHECK_REFUSED("evaluate: {search: {count: 0}}", "FILE:1: evaluate.search.count: 0 is too small");
    CHECK_REFUSED("evaluate: {search: {from: 1}}", "FILE: evaluate.search.to: 0.8 is below");
    CHECK_REFUSED("output: {name: a/b}", "FILE:1: output.name: 'a/b' cannot name");
    CHECK_REFUSED("output: {folder: ''}", "FILE:1: output.folder: the folder's name is empty");
}

TEST_CASE("what is just possible") {
    CHECK(config("train: {epochs: 0}\noptimiser: {rate: 0}").train.epochs == 0);
    CHECK(config("network: {channels: [3]}\ndata: {size: 255}").data.size == 255);
    CHECK(config("noise: {sigma: [0.2, 0.2]}").noise.sigma.fixed());
    CHECK(config("solver: {tau: 0.1, sigma: 1.1}").solver.sigma == 1.1);
}

TEST_CASE("files that are no configuration") {
    CHECK_REFUSED("- a\n- b\n", "FILE:1: not a configuration");
    CHECK_REFUSED("just words", "FILE:1: not a configuration");
    CHECK_REFUSED("seed: 1\nsolver: {tau: 0.1\n", "FILE:");
    CHECK_REFUSED("seed: 1\n---\nseed: 2\n", "FILE: several YAML documents");
    CHECK_REFUSED(",}\n", "FILE: several YAML documents, or a comma at the beginning");
    CHECK_THROWS_AS(tvmap::read_config("/nonexistent/x.yaml"), tvmap::Error);
    CHECK_THROWS_AS(tvmap::read_config("/"), tvmap::Error);
}

TEST_CASE("folds: two or more, and no test images besides") {
    CHECK(config("data: {folds: 5}").data.folds == 5);
    CHECK(config(config("data: {folds: 5}").to_yaml()).data.folds == 5);
    CHECK(config("data: {folds: 2, test: t}", {"data.test="}).data.folds == 2);
    CHECK_REFUSED("data: {folds: 1}", "FILE:1: data.folds: 1 would leave nothing");
    CHECK_REFUSED("data: {folds: -2}", "FILE:1: data.folds: -2 is too small");
    CHECK_REFUSED("data: {folds: 2.5}", "FILE:1: data.folds: got '2.5'");
    CHECK_REFUSED("data: {folds: 5, test: t}", "FILE:1: data.folds: each image of data.train is tested");
}

TEST_CASE("a sweep is the product of its lists, in order") {
    const File file(
        "seed: 7\noutput: {name: study}\nsweep:\n  solver.iterations: [8, 16]\n  noise: {sigma: [0.1, [0.1, "
        "0.5]]}\n");
    const tvmap::Sweep sweep = tvmap::read_sweep(file.path, {"data.size=64"});
    CHECK(sweep.keys == std::vector<std::string>{"solver.iterations", "noise.sigma"});
    REQUIRE(sweep.configs.size() == 4);
    const int iterations[] = {8, 8, 16, 16};
    const double to[] = {0.1, 0.5, 0.1, 0.5};
    const char* names[] = {"iterations-8_sigma-0.1", "iterations-8_sigma-0.1-0.5", "iterations-16_sigma-0.1",
                           "iterations-16_sigma-0.1-0.5"};
    const std::vector<std::string> values[] = {
        {"8", "0.1"}, {"8", "[0.1, 0.5]"}, {"16", "0.1"}, {"16", "[0.1, 0.5]"}};
    for (std::size_t i = 0; i < 4; ++i) {
        const Config& run = sweep.configs[i].config;
        CHECK(run.solver.iterations == iterations[i]);
        CHECK(run.noise.sigma.from == 0.1);
        CHECK(run.noise.sigma.to == to[i]);
        CHECK(run.output.name == "study");
        CHECK(sweep.configs[i].name == names[i]);
        CHECK(sweep.configs[i].values == values[i]);
        CHECK(run.seed == 7);
        CHECK(run.data.size == 64);
    }
    const tvmap::Sweep single = tvmap::read_sweep(File("seed: 3").path);
    REQUIRE(single.configs.size() == 1);
    CHECK(single.keys.empty());
    CHECK(single.configs[0].name == "");
}

TEST_CASE("sweeps that are wrong") {
    CHECK(has(refusal("sweep: {seed: [1, 2]}"), "FILE:1: a sweep describes several runs"));
    CHECK(has(sweep_refusal("seed: 1\nsweep:\n  seed: [1, 2]\n"),
              "FILE:3: seed is swept and also given at FILE:1"));
    CHECK(has(sweep_refusal("sweep: {seed: [1, 2]}", {"seed=3"}), "--set seed=3: seed is swept"));
    CHECK(has(sweep_refusal("sweep: {seed: 1}"), "FILE:1: seed: got '1'; give a list"));
    CHECK(has(sweep_refusal("sweep: {seed: []}"), "give a list"));
    CHECK(has(sweep_refusal("sweep: {sed: [1]}"), "FILE:1: unknown key sed; the nearest known key is seed"));
    CHECK(has(sweep_refusal("sweep: [1]"), "FILE:1: sweep: give keys and lists"));
    CHECK(has(sweep_refusal("sweep: {seed: [1]}\nsweep: {seed: [2]}"), "FILE:2: sweep is given twice"));
    CHECK(has(sweep_refusal("sweep: {seed: [1, 1]}"), "twice"));
    CHECK(has(sweep_refusal("sweep: {output.name: [a, b]}"), "FILE:1: output.name cannot be swept"));
    CHECK(has(sweep_refusal("sweep: {solver.iterations: [8, 0]}"),
              "FILE:1: solver.iterations: 0 is too small"));
}

TEST_CASE("every configuration in configs/ can be read, and chest_xray.yaml is the default") {
    const fs::path folder = fs::path(TVMAP_FIXTURES) / ".." / ".." / "configs";
    int files = 0;
    for (const auto& entry : fs::directory_iterator(folder)) {
        if (entry.is_directory()) continue;  // the weights that come with the program
        CAPTURE(entry.path().string());
        CHECK_NOTHROW(tvmap::read_sweep(entry.path().string()));
        ++files;
    }
    CHECK(files >= 4);
    Config standard;
    standard.data.train = fs::absolute("data/train").string();
    standard.data.val = fs::absolute("data/val").string();
    standard.data.test = fs::absolute("data/test").string();
    CHECK(tvmap::read_config((folder / "chest_xray.yaml").string()).to_yaml() == standard.to_yaml());
    const Config published = tvmap::read_config((folder / "chest_xray_published_code.yaml").string());
    CHECK(published.solver.norm == std::sqrt(13.0));
    CHECK(published.solver.dual_start == tvmap::DualStart::image);
}
