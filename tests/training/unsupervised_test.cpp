// Trainings without clean images: interrupted and resumed to the same bits, judged by SURE, and blind to the clean images.
#include <doctest/doctest.h>

#include "engine/data/noise.h"
#include "engine/data/supervision.h"
#include "engine/files/safetensors.h"
#include "engine/model/model.h"
#include "engine/pictures/image.h"
#include "kernels/training/random.h"
#include "tests/reference/training.h"
#include "tests/support/refusal.h"
#include "tests/training/trainer_case.h"

using namespace tvmap;
using trainer_case::Workshop;

namespace {

constexpr Supervision all[] = {Supervision::r2r, Supervision::sure, Supervision::pairs};

struct Unsupervised : Workshop {
    explicit Unsupervised(Supervision supervision) {
        config.noise.relative_to_image_std = false;
        config.noise.sigma = {0.1, 0.1};
        config.train.supervision = supervision;
    }
};

double relative(const std::string& value, double exact) {
    return std::abs(std::stod(value) - exact) / std::abs(exact);
}

}  // namespace

TEST_CASE("a run without clean images has the same bits interrupted and resumed") {
    for (const Supervision supervision : all) {
        CAPTURE(int(supervision));
        Unsupervised w(supervision);
        w.config.train.crop = 16;
        w.config.train.flip = true;
        w.config.noise.sigma = {0.05, 0.2};
        CHECK(w.train("whole"));
        CHECK_FALSE(w.train("parts", false, 1));
        CHECK_FALSE(w.train("parts", true, 4));
        CHECK(w.train("parts", true));
        w.check_same("whole", "parts");
        CHECK(w.column("whole", "val_psnr").size() == 3);  // shown, where there are clean images
        w.config.train.supervision = Supervision::clean;
        CHECK(has(refusal([&] { w.train("parts", true); }), "train.supervision"));
    }
}

TEST_CASE("a run that an earlier program began, with another SURE, says so when it is resumed") {
    Unsupervised w(Supervision::sure);
    CHECK_FALSE(w.train("run", false, 1));
    CHECK(w.train("other"));
    const std::string path = w.folder / "run/checkpoints/last.safetensors";
    SafeTensors checkpoint = read_safetensors(path);
    checkpoint.metadata.erase("tvmap.best_symmetric_sure");
    checkpoint.metadata["tvmap.best_sure"] = "-1";
    write_safetensors(path, checkpoint);
    CHECK(w.train("run", true));
    CHECK(has(w.file("run", "log.txt"), "forward difference"));
    CHECK_FALSE(has(w.file("other", "log.txt"), "forward difference"));
    CHECK(read_progress(path).best_epoch > 0);  // -1, which no validation is below, was not taken over
}

TEST_CASE("batches of several parts have the bits of whole ones but for the order of sums") {
    Unsupervised w(Supervision::sure);
    CHECK(w.train("whole"));
    set_threads(2);
    CHECK(w.train("parts"));
    const auto one = w.column("whole", "loss"), two = w.column("parts", "loss");
    for (std::size_t i = 0; i < one.size(); ++i)  // roundings of the gradients' sums, some steps later
        CHECK(relative(two[i], std::stod(one[i])) < 1e-3);
}

TEST_CASE("validation without clean images: SURE, which chooses the best") {
    for (const Supervision supervision : all) {
        CAPTURE(int(supervision));
        Unsupervised w(supervision);
        w.config.train.epochs = 4;
        w.config.optimiser.rate = 0.1;  // so that no epoch need be better than the one before
        CHECK(w.train("run"));
        const auto column = w.column("run", "val_sure");
        REQUIRE(column.size() == 4);
        int best = 0;
        for (int epoch = 1; epoch < 4; ++epoch)
            if (std::stod(column[std::size_t(epoch)]) < std::stod(column[std::size_t(best)])) best = epoch;
        const std::string path = w.folder / "run/checkpoints/best.safetensors";
        CHECK(read_progress(path).best_epoch == best + 1);
        CHECK(relative(column[std::size_t(best)], read_progress(path).best_sure) < 1e-8);  // its digits

        // By hand, with the best weights.
        const auto backend = make_backend("cpu");
        Model model = Model::load(*backend, w.config, path, 24, 24);
        const Dataset data(w.config.data.val, 24, 2);
        const std::size_t pixels = 24 * 24;
        const double epsilon = w.config.train.sure_epsilon;
        double sum = 0;
        for (int image = 0; image < 2; ++image) {
            std::vector<float> clean(pixels), z(pixels), up(pixels), down(pixels), v(pixels), map(2 * pixels),
                x(pixels);
            data.copy(image, clean.data());
            make_noisy({w.config.noise, w.config.noise.sigma, w.config.seed, validation_epoch}, data, image,
                       pixels, clean.data(), z.data());
            probe({w.config.seed, validation_epoch, std::uint32_t(image), 0.1f}, epsilon, pixels, z.data(),
                  up.data(), down.data(), v.data());
            std::vector<double> results, target(z.begin(), z.end());
            target.insert(target.end(), v.begin(), v.end());
            for (const auto& fed : {up, down}) {
                model.denoiser().run(fed.data(), map.data(), x.data());
                results.insert(results.end(), x.begin(), x.end());
            }
            sum += reference::sure(epsilon, results, target, 1) / 2;
        }
        CHECK(relative(column[std::size_t(best)], sum) < 1e-6);
    }
}

TEST_CASE("a run on noisy images needs no clean ones, and is the one on clean images with that noise added") {
    constexpr int side = 24, pixels = side * side;
    const float sigma = 0.05f;
    Unsupervised w(Supervision::r2r);
    w.config.noise.sigma = {sigma, sigma};
    Config stored = w.config;
    stored.noise.source = NoiseSource::given;
    // Grey enough for six σ, with 16 bits; what is observed of each.
    for (const std::string set : {"train", "val"}) {
        make_folder(w.folder / ("grey_" + set));
        make_folder(w.folder / ("noisy_" + set));
        const std::uint32_t epoch = set == "train" ? observation_epoch : validation_epoch;
        for (std::uint32_t k = 0; k < (set == "train" ? 7u : 2u); ++k) {
            Picture picture{side, side, 1, 16, std::vector<float>(pixels)};
            for (std::size_t i = 0; i < pixels; ++i)
                picture.values[i] = 0.35f + 0.3f * float(i / side / 6 + i % side / 8 + k) / 12;
            const std::string name = set + "/image_" + std::to_string(k) + ".png";
            write_png(w.folder / ("grey_" + name), picture);
            cpu::add_noise(w.config.seed, epoch, k, pixels, picture.values.data(), sigma,
                           picture.values.data());
            write_png(w.folder / ("noisy_" + name), picture);
        }
    }
    w.config.data.train = w.folder / "grey_train", w.config.data.val = w.folder / "grey_val";
    stored.data.train = w.folder / "noisy_train", stored.data.val = w.folder / "noisy_val";
    for (const Supervision supervision : {Supervision::r2r, Supervision::sure}) {
        CAPTURE(int(supervision));
        w.config.train.supervision = stored.train.supervision = supervision;
        const std::string name = std::to_string(int(supervision));
        CHECK(w.train("simulated" + name));
        CHECK(w.train(stored, "stored" + name));
        for (const char* column : {"loss", "val_sure"}) {
            const auto one = w.column("simulated" + name, column), two = w.column("stored" + name, column);
            REQUIRE(one.size() == 3);
            REQUIRE(two.size() == 3);
            // Parts of σ² and of σ²/α that cancel; 16 bits, σ/6000, turn some of the solver's decisions.
            for (std::size_t i = 0; i < 3; ++i)
                CHECK(std::abs(std::stod(two[i]) - std::stod(one[i])) < 0.01 * sigma * sigma);
        }
        for (const std::string& psnr : w.column("stored" + name, "val_psnr")) CHECK(psnr.empty());
        CHECK(std::filesystem::exists(w.folder / ("stored" + name + "/checkpoints/best.safetensors")));
    }
    stored.noise.source = NoiseSource::estimated;
    CHECK(w.train(stored, "estimated"));
}
