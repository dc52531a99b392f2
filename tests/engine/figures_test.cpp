// Colours whose lightness rises evenly, panels pixel by pixel, and gnuplot present, absent and failing.
#include "engine/evaluation/figures.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "kernels/base/error.h"
#include "tests/support/temporary_folder.h"

namespace fs = std::filesystem;
using tvmap::Picture;

namespace {

/// CIE L* of an sRGB colour: the definitions read forward, from the colour's side.
double lightness(const float* rgb) {
    const double weights[] = {0.2126, 0.7152, 0.0722};
    double y = 0;
    for (int c = 0; c < 3; ++c)
        y += weights[c] * (rgb[c] <= 0.04045 ? rgb[c] / 12.92 : std::pow((rgb[c] + 0.055) / 1.055, 2.4));
    return y > 216.0 / 24389 ? 116 * std::cbrt(y) - 16 : y * 24389 / 27;
}

/// PATH for the length of a test.
struct Path {
    explicit Path(const std::string& path) : before(::getenv("PATH")) { ::setenv("PATH", path.c_str(), 1); }
    ~Path() { ::setenv("PATH", before.c_str(), 1); }
    std::string before;
};

/// A program named gnuplot that does what the test wants, so that the test needs no gnuplot.
void pretend_gnuplot(const std::string& folder, const std::string& body) {
    std::ofstream(folder + "/gnuplot") << "#!/bin/sh\n" << body;
    fs::permissions(folder + "/gnuplot", fs::perms::owner_all);
}

std::string message(const std::string& script, const std::string& folder) {
    try {
        return tvmap::run_gnuplot(script, folder) ? "drawn" : "absent";
    } catch (const tvmap::Error& error) {
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
        return error.what();
    }
}

bool contains(const std::string& whole, const std::string& part) {
    return whole.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("equal steps in value are equal steps in lightness") {
    std::vector<float> values(256);
    for (int i = 0; i < 256; ++i) values[i] = 2.0f + float(i) / 255;
    const Picture colours = tvmap::false_colour(values.data(), 8, 32, 2.0f, 3.0f);
    CHECK(colours.height == 8);
    CHECK(colours.width == 32);
    CHECK(colours.channels == 3);
    REQUIRE(colours.values.size() == 3 * 256);
    for (int i = 0; i < 256; ++i) {
        CAPTURE(i);
        // Half a unit of L*, below what can be seen: no colour may leave sRGB's gamut and be cut off much.
        CHECK(lightness(&colours.values[3 * i]) == doctest::Approx(6 + 89.0 * i / 255).epsilon(0.5 / 95));
        for (int c = 0; c < 3; ++c) CHECK((colours.values[3 * i + c] >= 0 && colours.values[3 * i + c] <= 1));
    }
}

TEST_CASE("values outside the range take its ends; an empty range and NaN are dark") {
    constexpr float inf = std::numeric_limits<float>::infinity();
    const float values[] = {0, 1, -5, 9, inf, -inf, std::numeric_limits<float>::quiet_NaN()};
    const Picture p = tvmap::false_colour(values, 1, 7, 0.0f, 1.0f);
    const auto same = [&](int a, int b) {
        return std::equal(&p.values[3 * a], &p.values[3 * a] + 3, &p.values[3 * b]);
    };
    CHECK(!same(0, 1));
    CHECK(same(2, 0));
    CHECK(same(5, 0));
    CHECK(same(6, 0));
    CHECK(same(3, 1));
    CHECK(same(4, 1));
    const float level[] = {0.3f, 0.3f};
    const Picture flat = tvmap::false_colour(level, 1, 2, 0.3f, 0.3f);
    CHECK(std::equal(flat.values.begin(), flat.values.begin() + 3, p.values.begin()));
}

TEST_CASE("a panel puts pictures side by side, white between them") {
    const float a[] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f}, b[] = {0.7f, 0.8f};
    const Picture grey = tvmap::panel({tvmap::grey_picture(a, 2, 3), tvmap::grey_picture(b, 2, 1)}, 2);
    CHECK(grey.channels == 1);
    CHECK(grey.height == 2);
    CHECK(grey.width == 6);
    CHECK(grey.values == std::vector<float>{0.1f, 0.2f, 0.3f, 1, 1, 0.7f, 0.4f, 0.5f, 0.6f, 1, 1, 0.8f});

    const Picture colour{2, 1, 3, 8, {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f}};
    const Picture both = tvmap::panel({tvmap::grey_picture(b, 2, 1), colour}, 1);
    CHECK(both.channels == 3);
    CHECK(both.values == std::vector<float>{0.7f, 0.7f, 0.7f, 1, 1, 1, 0.1f, 0.2f, 0.3f,  //
                                            0.8f, 0.8f, 0.8f, 1, 1, 1, 0.4f, 0.5f, 0.6f});
    CHECK(tvmap::panel({colour}).values == colour.values);
    CHECK(tvmap::panel({colour}).width == 1);

    CHECK_THROWS_AS(tvmap::panel({}), tvmap::Error);
    CHECK_THROWS_AS(tvmap::panel({colour, tvmap::grey_picture(a, 3, 2)}), tvmap::Error);
}

TEST_CASE("gnuplot gets the script on its input, in the folder") {
    const TemporaryFolder folder, tools;
    pretend_gnuplot(tools.path.string(),
                    "cat > script.txt; echo noise; echo noise >&2; echo \"$@\" > arguments\n");
    const Path path(tools.path.string() + ":/bin:/usr/bin");
    const std::string script(200000, 'x');  // more than a pipe holds
    CHECK(tvmap::run_gnuplot(script, folder.path.string()));
    CHECK(fs::file_size(folder / "script.txt") == script.size());
    CHECK(contains(message("", folder / "missing"), folder / "missing"));
}

TEST_CASE("no gnuplot is no failure; a failing one is, with its complaint") {
    const TemporaryFolder folder, tools;
    const Path path(tools.path.string() + ":/bin:/usr/bin");
    {
        const Path none(tools.path.string());
        CHECK(message("plot x", folder.path.string()) == "absent");
        CHECK(fs::is_empty(folder.path));
    }
    pretend_gnuplot(tools.path.string(),
                    "printf '\\nplot y\\n     ^\\n\"-\" line 1: undefined variable: y\\n\\n' >&2; exit 1\n");
    CHECK(contains(message("plot y", folder.path.string()), ": line 1: undefined variable: y; "));
    pretend_gnuplot(tools.path.string(), "echo 'cannot open display' >&2; exit 3\n");
    CHECK(contains(message("plot y", folder.path.string()), "cannot open display"));
    pretend_gnuplot(tools.path.string(), "kill -9 $$\n");
    CHECK(contains(message("plot y", folder.path.string()), "signal 9"));
}

TEST_CASE("the real gnuplot, where there is one, draws and complains") {
    const TemporaryFolder folder;
    std::ofstream(folder / "data.csv") << "x,y\n1,2\n2,3\n3,5\n";
    const std::string script =
        "set datafile separator ','\nset terminal svg\nset output 'a.svg'\nplot 'data.csv' skip 1 with "
        "lines\n";
    const std::string said = message(script, folder.path.string());
    if (said == "absent") {
        MESSAGE("SKIPPED: gnuplot is not installed");
        return;
    }
    CHECK(said == "drawn");
    CHECK(fs::file_size(folder / "a.svg") > 1000);
    CHECK(contains(message("set output 'b.svg'\nplot nothing_of_that_name\n", folder.path.string()), "line"));
    CHECK(contains(message("plot 'missing.csv'\n", folder.path.string()), "missing.csv"));
}
