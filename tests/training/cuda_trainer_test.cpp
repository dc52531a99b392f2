// What a training run does between its steps where the backend has memory of its own: checkpoints that are written
// while training goes on, and validation that is recorded.
#include "engine/data/noise.h"
#include "engine/training/trainer.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <future>
#include <limits>
#include <thread>

#include "engine/files/file.h"
#include "engine/training/checkpoint_writer.h"
#include "engine/training/validation.h"
#include "kernels/base/error.h"
#include "kernels/cuda_loader.h"
#include "tests/support/refusal.h"
#include "tests/training/training_steps_case.h"

using namespace tvmap;
using namespace tvmap::tests;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

namespace fs = std::filesystem;

/// While it is set, threads beside the first wait for the disk, but not for ever.
std::atomic<bool> slow_disk{false};
const std::thread::id first_thread = std::this_thread::get_id();

std::unique_ptr<Backend> cuda_backend() { return tvmap_cuda_library()->open("fp32"); }

const auto nothing_before = [] {};

/// While it lives, the system starts no thread: none of its size can have a stack.
struct NoThreads {
    pthread_attr_t before{}, huge{};
    NoThreads() {
        REQUIRE(pthread_getattr_default_np(&before) == 0);
        REQUIRE(pthread_getattr_default_np(&huge) == 0);
        REQUIRE(pthread_attr_setstacksize(&huge, std::size_t(1) << 50) == 0);
        REQUIRE(pthread_setattr_default_np(&huge) == 0);
    }
    ~NoThreads() { pthread_setattr_default_np(&before); }
};

/// A run of the workshop's configuration on CUDA; its checkpoints, and metrics.csv without its seconds.
struct Runs {
    Workshop& w;
    explicit Runs(Workshop& workshop) : w(workshop) {
        ::setenv("XDG_CACHE_HOME", (w.folder / "cache").c_str(), 1);
        fs::create_directory(w.folder / "images");
        for (int k = 0; k < 7; ++k) {
            const std::string name = "image_" + std::to_string(k) + ".png";
            fs::copy_file(w.folder / name, w.folder / ("images/" + name));
        }
        w.config.data.train = w.config.data.val = w.folder / "images";
        w.config.data.limit = {7, 2, 1};
        w.config.evaluate.iterations = 4;
    }

    using Report = std::function<bool(const TrainReport&)>;  // whether to stop
    bool train(
        const std::string& run, const Report& report = [](const TrainReport&) { return false; }) {
        Trainer trainer(w.config, w.folder / run, true, cuda_backend());
        std::atomic<bool> stop{false};
        return trainer.run([&](const TrainReport& now) { stop = report(now); }, stop);
    }
    std::string path(const std::string& run, const std::string& name) const {
        return w.folder / (run + "/checkpoints/" + name + ".safetensors");
    }
    /// Weights and moments, one after the other.
    std::vector<float> state(const std::string& run, const std::string& name) const {
        std::vector<float> values;
        for (const auto& [tensor, stored] : read_safetensors(path(run, name)).tensors)
            values.insert(values.end(), stored.values.begin(), stored.values.end());
        return values;
    }
    std::string metrics(const std::string& run) const {
        std::ifstream file(w.folder / (run + "/metrics.csv"));
        std::string result;
        for (std::string line; std::getline(file, line);) result += line.substr(0, line.rfind(',')) + "\n";
        return result;
    }
};

}  // namespace

/// In place of the C library's.
extern "C" int fsync(int descriptor) {
    using namespace std::chrono_literals;
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (slow_disk && std::this_thread::get_id() != first_thread && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(1ms);
    return int(::syscall(SYS_fsync, descriptor));
}

TEST_CASE("a checkpoint holds the state of its call, while training goes on") {
    Workshop w;
    Training training(w, cuda_backend());
    const auto steps = training.steps(w.config, Way::resident, 1, 0);
    steps->take();
    Progress progress;
    progress.epoch = 3;
    write_checkpoint(w.folder / "expected", training.parameters, w.config, progress);

    CheckpointWriter writer(*training.backend, training.parameters);
    std::promise<void> gate;
    writer.write({w.folder / "one", w.folder / "two"}, w.config, progress,
                 [open = gate.get_future().share()] { open.wait(); });
    CHECK(writer.busy());
    const std::vector<float> then = training.parameters.host_weights();
    steps->take();
    CHECK(training.parameters.host_weights() != then);
    CHECK_FALSE(fs::exists(w.folder / "one"));
    gate.set_value();
    writer.finish();
    CHECK_FALSE(writer.busy());
    for (const char* name : {"one", "two"})
        CHECK((read_file(w.folder / name) == read_file(w.folder / "expected")));
}

TEST_CASE("a checkpoint that cannot be written is an Error of the next call, and the next one can be") {
    Workshop w;
    Training training(w, cuda_backend());
    CheckpointWriter writer(*training.backend, training.parameters);
    const std::string missing = w.folder / "missing/file", file = w.folder / "file";
    const auto begin = [&] { writer.write({missing}, w.config, {}, nothing_before); };
    begin();
    CHECK(refusal([&] { writer.finish(); }).find("cannot write " + missing) == 0);
    begin();
    CHECK(refusal([&] { writer.write({file}, w.config, {}, nothing_before); }).find(missing) !=
          std::string::npos);
    CHECK_FALSE(fs::exists(file));
    begin();
    CHECK(refusal([&] {
              while (writer.busy()) {
              }
          }).find(missing) != std::string::npos);
    writer.write({file}, w.config, {}, nothing_before);
    writer.finish();
    CHECK(fs::exists(file));
    begin();  // and is left
}

TEST_CASE("where the system starts no thread, a checkpoint is written all the same") {
    Workshop w;
    Training training(w, cuda_backend());
    CheckpointWriter writer(*training.backend, training.parameters);
    const NoThreads none;
    REQUIRE_THROWS_AS(std::thread([] {}).join(), std::system_error);
    const auto caller = std::this_thread::get_id();
    std::thread::id by;
    writer.write({w.folder / "file"}, w.config, {}, [&] { by = std::this_thread::get_id(); });
    CHECK(by == caller);
    CHECK(fs::exists(w.folder / "file"));
    CHECK(refusal([&] {
              writer.write({w.folder / "missing/file"}, w.config, {}, nothing_before);
          }).find("cannot write") == 0);
}

TEST_CASE(
    "where the backend works in the host's memory, a checkpoint is written at once, and nothing is copied") {
    Workshop w;
    Training training(w, make_backend("cpu"));
    CHECK(CheckpointWriter::copy_bytes(*training.backend, training.parameters.list()) == 0);
    CheckpointWriter writer(*training.backend, training.parameters);
    writer.write({w.folder / "file"}, w.config, {}, nothing_before);
    CHECK(fs::exists(w.folder / "file"));
    write_checkpoint(w.folder / "expected", training.parameters, w.config, {});
    CHECK((read_file(w.folder / "file") == read_file(w.folder / "expected")));
}

TEST_CASE("a weight that is not finite is found on the device, and named") {
    Workshop w;
    Training training(w, cuda_backend());
    CHECK(training.parameters.not_finite() == "");
    std::vector<float> weights = training.parameters.host_weights();
    const Parameter& last = training.parameters.list().back();
    weights[last.offset + last.size - 1] = std::numeric_limits<float>::infinity();
    training.parameters.set_host_weights(weights);
    CHECK(training.parameters.not_finite() == last.name);
    CHECK(refusal([&] {
              write_checkpoint(w.folder / "file", training.parameters, w.config, {});
          }).find("'" + last.name + "' is not finite") != std::string::npos);
}

TEST_CASE("validation has the bits of denoiser and measure, image by image, whether recorded or not") {
    Workshop w;
    w.config.noise.sigma = {0.1, 0.4};
    w.config.map.separate = true;
    w.config.evaluate.iterations = 4;
    std::vector<double> first_sure;
    for (const char* device : {"cpu", "cuda"}) {
        CAPTURE(device);
        const std::unique_ptr<Backend> backend =
            std::string(device) == "cpu" ? make_backend("cpu") : cuda_backend();
        Algorithms algorithms;
        const Dataset data(w.folder / "", 24, 3);
        Denoiser denoiser(*backend, algorithms, w.config, 24, 24);
        Parameters parameters(*backend, denoiser.graph().parameters(), false);
        parameters.initialise(5);
        const Arena arena(*backend, denoiser.arena_bytes());
        denoiser.bind(arena, parameters);

        std::vector<Quality> expected;
        const int pixels = 24 * 24;
        for (int i = 0; i < data.count(); ++i) {
            std::vector<float> clean(pixels), images(2 * pixels), lambda(2 * pixels);
            data.copy(i, clean.data());
            make_noisy({w.config.noise, w.config.noise.sigma, w.config.seed, validation_epoch}, data, i,
                       pixels, clean.data(), images.data());
            denoiser.run(images.data(), lambda.data(), images.data() + pixels);
            for (const Quality& quality : measure(*backend, images.data(), clean.data(), 2, 2, 24, 24))
                expected.push_back(quality);
        }
        const auto same = [](const Quality& a, const Quality& b) {
            return a.psnr == b.psnr && a.ssim == b.ssim && a.ssim_uniform == b.ssim_uniform;
        };
        for (const bool recorded : {false, true})
            for (const bool resident : {false, true}) {
                if (resident && !backend->separate_memory()) continue;
                CAPTURE(recorded);
                CAPTURE(resident);
                Validation validation(*backend, w.config, data, denoiser, recorded, resident);
                // Without clean images SURE comes with it, the same in every way.
                Config blind = w.config;
                blind.train.supervision = Supervision::sure;
                const std::vector<double> sure =
                    Validation(*backend, blind, data, denoiser, recorded, resident).run().sure;
                REQUIRE(sure.size() == 3);
                if (first_sure.empty()) first_sure = sure;
                for (int i = 0; i < 3; ++i)  // sums and convolutions in another order, 2/ε times as rough
                    CHECK(std::abs(sure[std::size_t(i)] - first_sure[std::size_t(i)]) <
                          1e-3 * std::abs(first_sure[std::size_t(i)]));
                for (int again = 0; again < 2; ++again) {
                    const Validation::Result result = validation.run();
                    CHECK(result.finite);
                    REQUIRE(result.noisy.size() == 3);
                    REQUIRE(result.denoised.size() == 3);
                    for (int i = 0; i < 3; ++i) {
                        CHECK(same(result.noisy[i], expected[2 * i]));
                        CHECK(same(result.denoised[i], expected[2 * i + 1]));
                    }
                }
                const std::vector<float> weights = parameters.host_weights();
                parameters.set_host_weights(std::vector<float>(weights.size(), 1e30f));
                CHECK_FALSE(validation.run().finite);
                parameters.set_host_weights(weights);
                CHECK(validation.run().finite);  // the replayed work reads the weights as they are
            }
    }
}

TEST_CASE("a run has the same bits however often it writes, interrupted and resumed") {
    Workshop w;
    Runs runs(w);
    w.config.train.checkpoint_seconds = 0;
    CHECK(runs.train("whole"));
    for (const double seconds : {1e-9, 1e6}) {
        CAPTURE(seconds);
        const std::string run = seconds < 1 ? "often" : "rarely";
        w.config.train.checkpoint_seconds = seconds;
        CHECK_FALSE(runs.train(run, [](const TrainReport& now) { return now.epoch == 2; }));
        const Progress stopped = read_progress(runs.path(run, "last"));
        CHECK(stopped.epoch + stopped.step > 1);
        CHECK(runs.train(run));
        CHECK(runs.metrics(run) == runs.metrics("whole"));
        const Progress expected = read_progress(runs.path("whole", "last")),
                       reached = read_progress(runs.path(run, "last"));
        CHECK(reached.best_psnr == expected.best_psnr);
        CHECK(reached.best_epoch == expected.best_epoch);
        for (const char* name : {"last", "best"}) CHECK((runs.state(run, name) == runs.state("whole", name)));
    }
}

TEST_CASE("while a checkpoint is being written, training goes on and puts off the next last one") {
    Workshop w;
    Runs runs(w);
    w.config.train.epochs = 6;
    w.config.train.validate_every = 6;
    w.config.train.checkpoint_seconds = 0;
    CHECK(runs.train("whole"));
    w.config.train.checkpoint_seconds = 1e-9;  // due after every epoch
    bool checked = false;
    CHECK(runs.train("slow", [&](const TrainReport& now) {
        slow_disk = now.epoch <= 3;
        if (now.epoch != 3 || now.step != now.steps_per_epoch) return false;
        CHECK_FALSE(fs::exists(runs.path("slow", "last")));
        checked = true;
        return false;
    }));
    CHECK(checked);
    for (const char* name : {"last", "best"}) {
        CHECK(read_progress(runs.path("slow", name)).epoch == 6);
        CHECK((runs.state("slow", name) == runs.state("whole", name)));
    }
    CHECK(runs.metrics("slow") == runs.metrics("whole"));
}

TEST_CASE("a run ends with one line where its checkpoint cannot be written") {
    Workshop w;
    Runs runs(w);
    w.config.train.epochs = 100;
    w.config.train.checkpoint_seconds = 1e6;  // the best alone
    int epochs = 0;
    const std::string said = refusal([&] {
        runs.train("run", [&](const TrainReport& now) {
            epochs = now.epoch;
            if (epochs == 1) fs::create_directory(runs.path("run", "best"));
            return false;
        });
    });
    CHECK(said.find(runs.path("run", "best")) != std::string::npos);
    CHECK(said.find('\n') == std::string::npos);
    CHECK(epochs < w.config.train.epochs);
}

TEST_CASE(
    "a training without clean images on CUDA: batches from the host, as on the CPU, and whole runs resume to "
    "the "
    "same bits") {
    for (const Supervision supervision : {Supervision::r2r, Supervision::sure, Supervision::pairs}) {
        CAPTURE(int(supervision));
        Workshop w;
        w.config.train.supervision = supervision;
        const Outcome cpu = train(w, make_backend("cpu"), Way::host);
        w.algorithms = {};
        const Outcome once = train(w, cuda_backend(), Way::uploaded),
                      again = train(w, cuda_backend(), Way::uploaded, 4);
        CHECK(once.losses == again.losses);
        CHECK(once.weights == again.weights);
        for (std::size_t step = 0; step < cpu.losses.size(); ++step)
            // As for the operators below; SURE's difference of two solves is 1/ε times as rough.
            CHECK(std::abs(once.losses[step] - cpu.losses[step]) < 1e-3 * std::abs(cpu.losses[step]));
    }
}

TEST_CASE(
    "an operator's training on CUDA: batches from the host, as on the CPU, and whole runs resume to the same "
    "bits") {
    for (const Sight sight : {Sight::mask, Sight::blur, Sight::downsample, Sight::impulses, Sight::poisson}) {
        CAPTURE(int(sight));
        Workshop w;
        w.config.solver.observation = {.sight = sight, .blur_size = 3};
        if (sight == Sight::poisson) w.config.noise.relative_to_image_std = false;
        const Outcome cpu = train(w, make_backend("cpu"), Way::host);
        w.algorithms = {};
        const Outcome once = train(w, cuda_backend(), Way::uploaded),
                      again = train(w, cuda_backend(), Way::uploaded, 4);
        CHECK(once.losses == again.losses);
        CHECK(once.weights == again.weights);
        for (std::size_t step = 0; step < cpu.losses.size(); ++step)
            // Convolutions and losses add up in another order, nine times after each other.
            CHECK(once.losses[step] == doctest::Approx(cpu.losses[step]).epsilon(1e-4));
    }
}

TEST_CASE(
    "all that an optimiser can do, on CUDA: as on the CPU, resident or uploaded, and whole runs resume to "
    "the "
    "same bits") {
    Workshop w;
    w.config.train.batch = 1;
    w.config.train.accumulate = 2;
    w.config.train.rotate = true;
    w.config.train.ema = 0.9;
    w.config.optimiser.decoupled_decay = true;
    w.config.optimiser.clip = 1e-3;
    const Outcome cpu = train(w, make_backend("cpu"), Way::host);
    w.algorithms = {};
    const Outcome resident = train(w, cuda_backend(), Way::resident);
    for (const auto& [way, leave] : {std::pair{Way::resident, 4}, {Way::uploaded, 0}, {Way::uploaded, 4}}) {
        const Outcome other = train(w, cuda_backend(), way, leave);
        CHECK(other.losses == resident.losses);
        CHECK(other.weights == resident.weights);
        CHECK(other.averages == resident.averages);
    }
    CHECK(resident.averages != resident.weights);
    for (std::size_t step = 0; step < cpu.losses.size(); ++step)
        // Convolutions and losses add up in another order, nine times after each other.
        CHECK(resident.losses[step] == doctest::Approx(cpu.losses[step]).epsilon(1e-4));

    Runs runs(w);
    CHECK(runs.train("whole"));
    CHECK_FALSE(runs.train("parts", [](const TrainReport& now) { return now.epoch == 2; }));
    CHECK(runs.train("parts"));
    CHECK(runs.metrics("parts") == runs.metrics("whole"));
    for (const char* name : {"last", "best"}) CHECK((runs.state("parts", name) == runs.state("whole", name)));
}
