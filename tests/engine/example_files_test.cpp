// The files of an example: those that are announced and no others, for images that are no squares and any number of maps;
// and figures that gnuplot draws of them.
#include "engine/evaluation/example_files.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "engine/figures/gnuplot.h"
#include "engine/files/npy.h"
#include "engine/pictures/image.h"
#include "tests/support/temporary_folder.h"

namespace fs = std::filesystem;
using namespace tvmap;

namespace {

constexpr int height = 24, width = 40, pixels = height * width;

/// A flat image with a chequered rectangle of rows 12 … 17 and columns 30 … 39, and what might have been made of it.
struct Example {
    std::vector<float> clean, noisy, scalar, map, lambda;
    EvaluatedImage image;

    Example() : lambda(2 * pixels) {
        for (int i = 0; i < height; ++i)
            for (int j = 0; j < width; ++j)
                clean.push_back(i >= 12 && i < 18 && j >= 30 && (i + j) % 2 ? 0.9f : 0.3f);
        for (int k = 0; k < pixels; ++k) {
            noisy.push_back(clean[k] + 0.2f * float(std::sin(7 * k)));
            scalar.push_back(clean[k] + 0.1f * float(std::sin(5 * k)));
            map.push_back(clean[k] - 0.05f * float(std::sin(3 * k)));
            lambda[k] = 0.05f + 0.04f * float(std::sin(k));
            lambda[pixels + k] = k == 7 ? 0 : 0.1f;
        }
        image.name = "a \"b\" <c>";
        image.sigma = 0.25;
    }
    ExamplePictures pictures(int maps) const {
        return {clean.data(), noisy.data(), scalar.data(), map.data(), maps ? lambda.data() : nullptr,
                height,       width,        maps};
    }
};

}  // namespace

TEST_CASE("files as announced, of any number of maps") {
    const Example example;
    for (const int maps : {0, 1, 2}) {
        CAPTURE(maps);
        const TemporaryFolder folder;
        const std::vector<Figure> figures =
            write_example(folder.path.string(), example.image, example.pictures(maps));
        CHECK(figures.size() == (maps ? 2 : 1));
        std::set<std::string> there, announced;
        for (const auto& entry : fs::directory_iterator(folder / "images"))
            there.insert(entry.path().string());
        for (const std::string& path : example_paths(folder.path.string(), example.image.name, maps))
            announced.insert(path);
        CHECK(there == announced);

        const std::string stem = folder / ("images/" + example.image.name);
        CHECK(read_picture(stem + "_map.png").width == width);
        const NpyArray errors = read_npy(stem + "_error.npy");
        const std::int64_t planes = maps == 2 ? 2 : 3;
        REQUIRE(errors.shape == std::vector<std::int64_t>{planes, height, width});
        for (int k = 0; k < pixels; ++k)
            CHECK(errors.values[std::size_t(planes - 1) * pixels + k] ==
                  std::abs(example.map[k] - example.clean[k]));
        if (maps == 0) continue;
        const NpyArray lambda = read_npy(stem + "_lambda.npy");
        CHECK(std::equal(lambda.values.begin(), lambda.values.end(), example.lambda.begin()));
        CHECK(lambda.values.size() == std::size_t(maps) * pixels);
    }
}

TEST_CASE("the detail holds what has most contrast") {
    const Example example;
    const TemporaryFolder folder;
    const std::string commands =
        write_example(folder.path.string(), example.image, example.pictures(1))[0].commands;
    // A quarter of the sides, but 8 at least: rows 11 … 18 or 12 … 19 (the first of the best), the last ten columns.
    const bool framed = commands.find("rectangle from 29.5,4.5 to 39.5,12.5") != commands.npos ||
                        commands.find("rectangle from 29.5,3.5 to 39.5,11.5") != commands.npos ||
                        commands.find("rectangle from 29.5,5.5 to 39.5,13.5") != commands.npos;
    CHECK(framed);
}

TEST_CASE("gnuplot draws the figures") {
    const Example example;
    for (const int maps : {0, 1, 2}) {
        CAPTURE(maps);
        const TemporaryFolder folder;
        const std::vector<Figure> figures =
            write_example(folder.path.string(), example.image, example.pictures(maps));
        if (!run_gnuplot("", folder.path.string())) {
            MESSAGE("SKIPPED: gnuplot is not installed");
            return;
        }
        CHECK(draw_figures(folder.path.string(), figures) == "");
        for (const Figure& figure : figures)
            for (const char* ending : {".svg", ".png", ".pdf"})
                CHECK(fs::file_size(folder / (figure.name + ending)) > 1000);
        const Picture panel = read_picture(folder / (figures[0].name + ".png"));
        CHECK(panel.width == 2 * figures[0].width);
        CHECK(panel.width > panel.height);  // three rows of pictures that are wider than high
    }
}
