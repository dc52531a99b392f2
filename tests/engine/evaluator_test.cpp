// The evaluation: its numbers are those of direct calls, the oracle is the best of its curve, and the files
// say the same.
#include "engine/evaluation/evaluator.h"
#include "engine/config/solver_problem.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <limits>
#include <set>
#include <sstream>

#include "engine/data/noise.h"
#include "engine/data/observation.h"
#include "engine/evaluation/evaluation_files.h"
#include "engine/files/csv.h"
#include "engine/files/file.h"
#include "engine/files/npy.h"
#include "engine/model/checkpoint.h"
#include "engine/model/denoiser.h"
#include "engine/model/model.h"
#include "engine/pictures/image.h"
#include "engine/solver/search.h"
#include "kernels/base/error.h"
#include "kernels/device_array.h"
#include "kernels/threads/threads.h"
#include "kernels/training/metrics.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;

namespace {

constexpr int side = 32, count = 3;
constexpr std::int64_t pixels = side * side;

/// Test images, a configuration, and a checkpoint with random weights.
struct Workshop {
    TemporaryFolder folder;
    Config config;
    std::string checkpoint;

    explicit Workshop(bool separate = false) {
        set_threads(separate ? 2 : 1);
        ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
        make_folder(folder / "test");
        for (int k = 0; k < count; ++k) {
            Picture picture{side, side, 1, 8, std::vector<float>(pixels)};
            for (int i = 0; i < side; ++i)
                for (int j = 0; j < side; ++j)
                    picture.values[i * side + j] = float((i / 8 * 5 + j / 11 * 3 + k * 7) % 11) / 10.0f;
            write_png(folder / ("test/image_" + std::to_string(k) + ".png"), picture);
        }
        config.data.test = folder / "test";
        config.data.size = side;
        config.data.limit.test = count;
        config.network.channels = {4, 6};
        config.map.separate = separate;
        config.evaluate.iterations = 16;
        config.evaluate.sigma = {0.3, 0.6};
        config.evaluate.search = {0, 0.4, 5};
        checkpoint = folder / "weights.safetensors";
        write_weights();
    }

    /// Untrained ones, for the configuration as it is.
    void write_weights() const {
        const auto backend = make_backend("cpu");
        Parameters parameters(
            *backend, record_inference_model(*backend, config, 1, side, side, 0).graph.parameters(), true);
        parameters.initialise(3);
        write_checkpoint(checkpoint, parameters, config, {});
    }

    Evaluation run(int pictures = 0) const {
        const std::atomic<bool> stop{false};
        int last = 0;
        const auto backend = make_backend("cpu");
        const Evaluation result = evaluate(
            *backend, config, checkpoint, folder / "evaluation", pictures,
            [&](int done, int total) {
                CHECK(done == last + 1);
                CHECK(total == count);
                last = done;
            },
            stop);
        CHECK(last == count);
        return result;
    }
};

std::vector<std::vector<std::string>> csv(const std::string& path) {
    std::vector<std::vector<std::string>> rows;
    std::istringstream lines(read_file(path));
    for (std::string line; std::getline(lines, line);) {
        rows.emplace_back();
        std::istringstream cells(line);
        for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
    }
    return rows;
}

}  // namespace

TEST_CASE("every number equals a direct call's") {
    for (const bool separate : {false, true}) {
        CAPTURE(separate);
        Workshop w(separate);
        w.config.evaluate.draws = 3;
        const Evaluation evaluation = w.run();
        REQUIRE(evaluation.images.size() == count);
        REQUIRE(evaluation.lambdas == std::vector<double>{0, 0.4 / 4, 0.4 * 2 / 4, 0.4 * 3 / 4, 0.4});

        const auto backend = make_backend("cpu");
        Algorithms algorithms = Algorithms::of_machine();
        Denoiser denoiser(*backend, algorithms, w.config, side, side);
        Parameters parameters(*backend, denoiser.graph().parameters(), false);
        read_weights(w.checkpoint, w.config, parameters);
        const Arena arena(*backend, denoiser.arena_bytes());
        denoiser.bind(arena, parameters);
        const Dataset data(w.config.data.test, side, count);
        std::vector<float> clean(pixels), noisy(pixels), x(pixels), lambda(pixels * denoiser.maps());
        for (int i = 0; i < count; ++i) {
            const EvaluatedImage& image = evaluation.images[i];
            CHECK(image.name == data.name(i));
            data.copy(i, clean.data());
            const float sigma =
                make_noisy({w.config.noise, w.config.evaluate.sigma, w.config.seed, test_epoch}, data, i,
                           pixels, clean.data(), noisy.data());
            CHECK(image.sigma == sigma);
            CHECK(sigma >= 0.3f);
            CHECK(sigma <= 0.6f);
            const auto check = [&](const Quality& q, const std::vector<float>& result) {
                CHECK(q.psnr == cpu::psnr(result.data(), clean.data(), pixels));
                CHECK(q.ssim == cpu::ssim_gaussian(result.data(), clean.data(), side, side));
                CHECK(q.ssim_uniform == cpu::ssim_uniform(result.data(), clean.data(), side, side));
            };
            check(image.noisy, noisy);

            REQUIRE(image.curve.size() == 5);
            PdhgProblem problem = pdhg_problem(w.config.solver, w.config.map, 1, side, side);
            problem.map = MapKind::scalar;
            const DeviceArray<std::byte> workspace(*backend, cpu::pdhg_workspace_bytes(problem));
            for (int l = 0; l < 5; ++l) {
                const float value = float(evaluation.lambdas[l]);
                cpu::pdhg_forward(problem, 16, {noisy.data(), &value}, {.x = x.data()},
                                  {workspace.data(), workspace.bytes()});
                check(image.curve[l], x);
            }

            denoiser.run(noisy.data(), lambda.data(), x.data());
            check(image.map, x);
            double mean = 0;
            for (float v : lambda) mean += v;
            CHECK(image.lambda_mean == doctest::Approx(mean / double(lambda.size())));

            MapDraws draws(lambda.size());  // the same strength of noise, drawn anew
            const Range as_strong{sigma, sigma};
            for (int k = 0; k < 3; ++k) {
                make_noisy({w.config.noise, as_strong, w.config.seed, redraw_epoch(k)}, data, i, pixels,
                           clean.data(), noisy.data());
                denoiser.run(noisy.data(), lambda.data(), x.data());
                draws.add(lambda.data(), cpu::psnr(x.data(), clean.data(), pixels));
            }
            CHECK(image.stability.spread > 0);
            CHECK(image.stability.spread == draws.stability().spread);
            CHECK(image.stability.psnr_spread == draws.stability().psnr_spread);
        }
    }
}

TEST_CASE("operators: what is observed is measured, and the best scalar is that of the same problem") {
    for (const Sight sight : {Sight::mask, Sight::blur, Sight::downsample, Sight::impulses, Sight::poisson}) {
        CAPTURE(int(sight));
        Workshop w(true);
        w.config.solver.observation = {.sight = sight, .blur_size = 3};
        if (sight == Sight::poisson) w.config.noise.relative_to_image_std = false;
        w.write_weights();
        const Evaluation evaluation = w.run(1);
        const auto backend = make_backend("cpu");
        const Dataset images(w.config.data.test, side, count);
        const Observer observer(w.config.solver.observation);
        SolverConfig solver = w.config.solver;
        solver.iterations = w.config.evaluate.iterations;
        for (int i = 0; i < count; ++i) {
            std::vector<float> clean(pixels), seen(pixels), weights(pixels);
            images.copy(i, clean.data());
            observer.observe({w.config.noise, w.config.evaluate.sigma, w.config.seed, test_epoch}, images, i,
                             side, side, clean.data(), seen.data(), weights.data());
            const EvaluatedImage& image = evaluation.images[i];
            CHECK(image.noisy.psnr == cpu::psnr(seen.data(), clean.data(), pixels));
            const std::vector<float> lambdas(evaluation.lambdas.begin(), evaluation.lambdas.end());
            const auto curve = scalar_search(
                *backend, solver,
                {seen.data(), clean.data(), 1, side, side, observer.weighs() ? weights.data() : nullptr},
                lambdas);
            for (std::size_t l = 0; l < lambdas.size(); ++l)
                CHECK(image.curve[l].psnr == curve[0].quality[l].psnr);
            CHECK(std::isfinite(image.map.psnr));
        }
    }
}

TEST_CASE("other draws of counts are of the image's own gain") {
    Workshop w(true);
    w.config.solver.observation = {.sight = Sight::poisson, .gain = {0.005, 0.2}};
    w.config.noise.relative_to_image_std = false;
    w.config.evaluate.sigma = {0.01, 0.05};
    w.config.evaluate.draws = 4;
    w.write_weights();
    const Evaluation evaluation = w.run();
    const auto backend = make_backend("cpu");
    Model model = Model::load(*backend, w.config, w.checkpoint, side, side);
    Denoiser& denoiser = model.denoiser(side, side);
    const Dataset data(w.config.data.test, side, count);
    for (int i = 0; i < count; ++i) {
        std::vector<float> clean(pixels), seen(pixels), weights(pixels), x(pixels), lambda(2 * pixels);
        data.copy(i, clean.data());
        const Range sigma{evaluation.images[i].sigma, evaluation.images[i].sigma};
        ObservationConfig observation = w.config.solver.observation;
        const double gain = Observer(observation).gain(w.config.seed, test_epoch, std::uint32_t(i));
        CHECK(gain > 0.005);
        CHECK(gain < 0.2);
        observation.gain = {gain, gain};
        MapDraws draws(lambda.size());
        for (int k = 0; k < 4; ++k) {
            Observer(observation)
                .observe({w.config.noise, sigma, w.config.seed, redraw_epoch(k)}, data, i, side, side,
                         clean.data(), seen.data(), weights.data());
            denoiser.run(seen.data(), lambda.data(), x.data(), weights.data());
            draws.add(lambda.data(), cpu::psnr(x.data(), clean.data(), pixels));
        }
        CHECK(evaluation.images[i].stability.spread == draws.stability().spread);
        CHECK(evaluation.images[i].stability.psnr_spread == draws.stability().psnr_spread);
    }
}

TEST_CASE("no draw of the noise is another's") {
    std::set<std::uint32_t> epochs{validation_epoch, test_epoch, observation_epoch};
    for (int draw = 0; draw < 100; ++draw) epochs.insert(redraw_epoch(draw));
    CHECK(epochs.size() == 103);
    CHECK(*std::next(epochs.begin()) > 1000000);  // training counts from 1
}

TEST_CASE("images at their own sizes, by a map and by a network that gives images") {
    for (const bool image_output : {false, true}) {
        CAPTURE(image_output);
        Workshop w;
        w.config.data.own_sizes = true;
        w.config.network.predicts_image = image_output;
        w.config.network.normalise = true;
        w.write_weights();
        // The second one is wider than high, and no side of it can be halved.
        write_png(w.folder / "test/image_1.png",
                  Picture{side - 3, side + 5, 1, 8, std::vector<float>((side - 3) * (side + 5), 0.4f)});
        const Evaluation evaluation = w.run(count);
        REQUIRE(evaluation.images.size() == count);
        const std::string table = evaluation.table();
        CHECK((table.find("network is better on") != table.npos) == image_output);
        CHECK((table.find("map Λ") == table.npos) == image_output);
        const auto backend = make_backend("cpu");
        Algorithms algorithms = Algorithms::of_machine();
        const Dataset data(w.config.data.test, 0, count, "", 8, 0, Preparation::none);
        for (int i = 0; i < count; ++i) {
            const int height = data.height(i), width = data.width(i);
            CHECK(height == (i == 1 ? side - 3 : side));
            Denoiser denoiser(*backend, algorithms, w.config, height, width);
            CHECK(denoiser.maps() == (image_output ? 0 : 1));
            Parameters parameters(*backend, denoiser.graph().parameters(), false);
            read_weights(w.checkpoint, w.config, parameters);
            const Arena arena(*backend, denoiser.arena_bytes());
            denoiser.bind(arena, parameters);
            std::vector<float> clean(data.pixels(i)), noisy(clean.size()), x(clean.size()),
                lambda(clean.size());
            data.copy(i, clean.data());
            make_noisy({w.config.noise, w.config.evaluate.sigma, w.config.seed, test_epoch}, data, i,
                       data.pixels(i), clean.data(), noisy.data());
            denoiser.run(noisy.data(), lambda.data(), x.data());
            CHECK(evaluation.images[i].map.psnr == cpu::psnr(x.data(), clean.data(), data.pixels(i)));
            CHECK(evaluation.images[i].map.ssim == cpu::ssim_gaussian(x.data(), clean.data(), height, width));
            const std::string stem = w.folder / ("evaluation/images/image_" + std::to_string(i));
            CHECK(read_picture(stem + "_map.png").width == width);
            CHECK(std::filesystem::exists(stem + "_lambda.png") == !image_output);
        }
    }
}

TEST_CASE("the oracle is the best of the curve, for each measure by itself") {
    const Workshop w;
    const Evaluation evaluation = w.run();
    for (const EvaluatedImage& image : evaluation.images)
        for (const auto measure : {&Quality::psnr, &Quality::ssim, &Quality::ssim_uniform}) {
            int at = -1;
            double best = -1e300;
            for (int l = 0; l < 5; ++l)
                if (image.curve[l].*measure > best) best = image.curve[at = l].*measure;
            CHECK(image.scalar.*measure == best);
            CHECK(image.scalar_at.*measure == evaluation.lambdas[at]);
        }
    // Noise of half the image's deviation needs some regularisation, and not the most.
    CHECK(evaluation.images[0].scalar_at.psnr > 0);
    CHECK(evaluation.images[0].scalar_at.psnr < 0.4);
}

TEST_CASE("the test's noise does not depend on the network and is drawn once") {
    Workshop w;
    const Evaluation first = w.run();
    w.config.map.scale = 0.3;
    CHECK_THROWS_AS(w.run(), Error);  // not with weights that were trained for another map
    w.write_weights();
    const Evaluation second = w.run();
    for (int i = 0; i < count; ++i) {
        CHECK(first.images[i].noisy.psnr == second.images[i].noisy.psnr);
        CHECK(first.images[i].scalar.psnr == second.images[i].scalar.psnr);
        CHECK(first.images[i].map.psnr != second.images[i].map.psnr);
    }
}

TEST_CASE("files") {
    const Workshop w(true);
    const Evaluation evaluation = w.run(2);
    const std::string folder = w.folder / "evaluation";

    const auto images = csv(folder + "/per_image.csv");
    REQUIRE(images.size() == count + 1);
    const auto column = [&](const std::string& name) {
        const auto place = std::find(images[0].begin(), images[0].end(), name);
        REQUIRE(place != images[0].end());
        return std::size_t(place - images[0].begin());
    };
    for (int i = 0; i < count; ++i) {
        CHECK(images[i + 1].size() == images[0].size());
        CHECK(images[i + 1][0] == evaluation.images[i].name);
        const auto value = [&](const char* name) { return std::stod(images[i + 1][column(name)]); };
        // Six digits are written.
        CHECK(value("map_psnr") == doctest::Approx(evaluation.images[i].map.psnr).epsilon(1e-5));
        CHECK(value("noise") == doctest::Approx(evaluation.images[i].noise).epsilon(1e-5));
        CHECK(value("noise_estimated") ==
              doctest::Approx(evaluation.images[i].noise_estimated).epsilon(1e-5));
        CHECK(value("scalar_ssim") == doctest::Approx(evaluation.images[i].scalar.ssim).epsilon(1e-5));
        CHECK(value("scalar_lambda_psnr") ==
              doctest::Approx(evaluation.images[i].scalar_at.psnr).epsilon(1e-5));
        CHECK(
            value("gain_psnr") ==
            doctest::Approx(evaluation.images[i].map.psnr - evaluation.images[i].scalar.psnr).epsilon(1e-5));
    }

    const auto curves = csv(folder + "/curves.csv");
    REQUIRE(curves.size() == 6);
    for (int l = 0; l < 5; ++l) {
        double mean = 0;
        for (const EvaluatedImage& image : evaluation.images) mean += image.curve[l].psnr / count;
        CHECK(std::stod(curves[l + 1][1]) == doctest::Approx(mean).epsilon(1e-6));
    }
    CHECK(csv(folder + "/summary.csv").size() == images[0].size());  // a row for each column but the name
    CHECK(read_file(folder + "/summary.txt") == evaluation.table());

    for (int i = 0; i < count; ++i)
        for (const char* kind : {"clean.png", "noisy.png", "scalar.png", "map.png", "lambda.png",
                                 "lambda_horizontal.png", "lambda.npy", "error.npy", "histogram.csv"}) {
            const std::string path = folder + "/images/" + evaluation.images[i].name + "_" + kind;
            CAPTURE(path);
            CHECK(std::filesystem::exists(path) == (i < 2));
        }
    const std::string stem = folder + "/images/" + evaluation.images[0].name;
    CHECK(read_picture(stem + "_clean.png").values == read_picture(w.folder / "test/image_0.png").values);
    CHECK(read_picture(stem + "_lambda.png").channels == 3);
    const NpyArray errors = read_npy(stem + "_error.npy"), lambda = read_npy(stem + "_lambda.npy");
    CHECK(errors.shape == std::vector<std::int64_t>{2, side, side});
    CHECK(lambda.shape == std::vector<std::int64_t>{2, side, side});
    // The file's PSNR is that of the table.
    double squares = 0;
    for (int i = 0; i < side * side; ++i) {
        const double error = errors.values[std::size_t(side * side + i)];
        squares += error * error;
    }
    CHECK(-10 * std::log10(squares / (side * side)) ==
          doctest::Approx(evaluation.images[0].map.psnr).epsilon(1e-5));
}

TEST_CASE("gains and statistics") {
    Evaluation evaluation;
    evaluation.images.resize(3);
    const double map[] = {30, 32, 37}, scalar[] = {29, 33, 34};
    for (int i = 0; i < 3; ++i) {
        evaluation.images[i].map = {map[i], map[i] / 100, map[i] / 50};
        evaluation.images[i].scalar = {scalar[i], scalar[i] / 100, scalar[i] / 50};
    }
    CHECK(evaluation.gain().psnr == doctest::Approx(1.0));
    CHECK(evaluation.gain().ssim == doctest::Approx(0.01));
    CHECK(evaluation.gain().ssim_uniform == doctest::Approx(0.02));
    const Statistic s = statistic(evaluation.images, [](const EvaluatedImage& i) { return i.map.psnr; });
    CHECK(s.mean == doctest::Approx(33));
    CHECK(s.deviation == doctest::Approx(std::sqrt(13.0)));  // (9 + 1 + 16) / 2
    CHECK(statistic({evaluation.images[0]}, [](const EvaluatedImage& i) { return i.map.psnr; }).deviation ==
          0);
    CHECK(evaluation.table().find("better on 2 of 3 images") != std::string::npos);
}

TEST_CASE("means are of the images whose PSNR is a finite number, and the others are named") {
    constexpr double inf = std::numeric_limits<double>::infinity(),
                     nan = std::numeric_limits<double>::quiet_NaN();
    Evaluation evaluation;
    evaluation.images.resize(5);
    const double noisy[] = {20, inf, 24, 21, 22}, scalar[] = {29, inf, 33, 30, nan},
                 map[] = {30, 150, 35, inf, 31};
    const char* const names[] = {"a", "blank", "c", "equal", "odd"};
    for (int i = 0; i < 5; ++i) {
        EvaluatedImage& image = evaluation.images[i];
        image.name = names[i];
        image.noisy = {noisy[i], 0.2, 0.3};
        image.scalar = {scalar[i], nan, 0.5};  // no room for the Gaussian window
        image.map = {map[i], nan, 0.7};
    }
    CHECK(evaluation.left_out() == std::vector<std::string>{"blank", "equal", "odd"});
    CHECK(evaluation.gain().psnr == 1.5);
    CHECK(std::isnan(evaluation.gain().ssim));
    CHECK(evaluation.gain().ssim_uniform == doctest::Approx(0.2));
    const std::string table = evaluation.table();
    CHECK(table.find("better on 2 of 2 images") != std::string::npos);
    CHECK(table.find("blank, equal, odd") != std::string::npos);
    CHECK(table.find("nan") == std::string::npos);

    CHECK(statistic({1, nan, 3, inf, -inf}).mean == 2);
    CHECK(statistic({1, nan, 3, inf}).deviation == doctest::Approx(std::sqrt(2.0)));
    CHECK(std::isnan(statistic({nan, inf}).mean));
    CHECK(left_out_of_means({"1", "2", "3", "4", "5", "6", "7"}).find("5 and 2 more") != std::string::npos);

    const std::vector<Quality> curve{{nan, nan, 0}, {3, nan, 1}, {3, nan, 0}, {inf, nan, 2}};
    CHECK(best_of(curve, &Quality::psnr) == 3);
    CHECK(best_of({curve[0], curve[1], curve[2]}, &Quality::psnr) == 1);
    CHECK(!best_of(curve, &Quality::ssim));
}

TEST_CASE("a search of one value; weights of another network") {
    Workshop w;
    w.config.evaluate.search = {0.1, 0.4, 1};
    CHECK(w.run().lambdas == std::vector<double>{0.1});
    w.config.network.channels = {4, 8};
    CHECK_THROWS_AS(w.run(), Error);
}

TEST_CASE("configuration and tables are written together, and not where a run is") {
    Workshop w;
    const std::string folder = w.folder / "evaluation";
    w.run();
    const std::string config = read_file(folder + "/config.yaml"),
                      table = read_file(folder + "/per_image.csv");
    w.config.evaluate.iterations = 8;
    const auto backend = make_backend("cpu");
    std::atomic<bool> stop{false};
    const auto fails = [](int, int) { fail("as if it were killed"); };
    CHECK_THROWS_AS(evaluate(*backend, w.config, w.checkpoint, folder, 0, fails, stop), Error);
    CHECK(read_file(folder + "/config.yaml") == config);
    CHECK(read_file(folder + "/per_image.csv") == table);
    w.run();
    CHECK(read_file(folder + "/config.yaml") != config);

    std::filesystem::create_directory(w.folder / "evaluation/checkpoints");
    CHECK_THROWS_WITH_AS(w.run(), doctest::Contains("holds a run"), Error);
}

TEST_CASE("no table of an earlier evaluation is left") {
    Workshop w;  // σ drawn
    w.run();
    CHECK(std::filesystem::exists(w.folder / "evaluation/gain.csv"));
    w.config.evaluate.sigma = {0.4, 0.4};
    w.run();
    CHECK(!std::filesystem::exists(w.folder / "evaluation/gain.csv"));
    CHECK(std::filesystem::exists(w.folder / "evaluation/curves.csv"));
}

TEST_CASE("best scalars at an end of the search are told") {
    Workshop w;
    w.config.evaluate.search = {0.001, 0.002, 2};  // far too little
    const Evaluation low = w.run();
    CHECK(low.table().find("at the end of the search, 0.002, on 3 images") != std::string::npos);
    w.config.evaluate.search = {5, 6, 2};  // far too much
    CHECK(w.run().table().find("at the start of the search, 5, on 3 images") != std::string::npos);
    w.config.evaluate.search = {0, 2, 41};
    const std::string both = w.run().table();
    CHECK(both.find("of the search") == std::string::npos);
}

TEST_CASE("an interruption keeps the tables of what is finished") {
    const Workshop w;
    std::atomic<bool> stop{true};
    const std::string none = w.folder / "none", some = w.folder / "some";
    const auto evaluate_into = [&](const std::string& folder) {
        const auto backend = make_backend("cpu");
        evaluate(
            *backend, w.config, w.checkpoint, folder, 1, [&](int done, int) { stop = done == 2; }, stop);
    };
    CHECK_THROWS_AS(evaluate_into(none), Interrupted);
    CHECK(!std::filesystem::exists(none));
    stop = false;
    CHECK_THROWS_AS(evaluate_into(some), Interrupted);
    CHECK(csv(some + "/per_image.csv").size() == 1 + 2);
    CHECK(csv(some + "/curves.csv").size() == 1 + 5);
    CHECK(read_file(some + "/summary.txt").find("interrupted: these are the first 2 of 3 images") !=
          std::string::npos);
    CHECK(read_file(some + "/provenance.csv").find("interrupted,after 2 of 3 images") != std::string::npos);
    for (const auto& entry : std::filesystem::directory_iterator(some))
        CHECK(entry.path().filename().string()[0] != '.');  // no unfinished figure
}

TEST_CASE("names that CSV must quote; a folder that a figure cannot be renamed in") {
    const Workshop w;
    std::filesystem::rename(w.folder / "test/image_0.png", w.folder / "test/a, \"b\".png");
    const Evaluation evaluation = w.run(1);
    CHECK(evaluation.images[0].name == "a, \"b\"");
    CHECK(read_file(w.folder / "evaluation/per_image.csv").find("\n\"a, \"\"b\"\"\",") != std::string::npos);
    CHECK(csv_field("plain_1") == "plain_1");

    if (!std::filesystem::exists(w.folder / "evaluation/curves.svg")) return;  // no gnuplot
    const std::string blocked = w.folder / "blocked";
    std::filesystem::create_directories(blocked + "/curves.png/inside");
    const std::string missing = write_evaluation(blocked, evaluation);
    CHECK(missing.find("curves.png") != std::string::npos);
    CHECK(missing.find("curves.svg") == std::string::npos);
    CHECK(std::filesystem::exists(blocked + "/curves.svg"));
    CHECK(read_file(blocked + "/summary.txt") == evaluation.table());
    for (const auto& entry : std::filesystem::directory_iterator(blocked))
        CHECK(entry.path().filename().string()[0] != '.');
}
