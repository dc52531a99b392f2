// What an evaluation leaves in its folder: files that say what it found, together or not at all.
#include "tests/evaluation/evaluation_workshop.h"

using namespace tvmap;
using namespace evaluation_workshop;

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
