// Colours whose lightness rises evenly, ticks, and gnuplot present, absent, failing and lied to by names.
#include "engine/figures/gnuplot.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "engine/figures/colours.h"
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

TEST_CASE("gnuplot's palette is the colour map at every stop") {
    const std::string command = tvmap::palette_command();
    for (int stop = 0; stop <= 32; ++stop) {
        const float value = float(stop * 255 / 32) / 255;
        const Picture colour = tvmap::false_colour(&value, 1, 1, 0, 1);
        char hex[8];
        std::snprintf(hex, sizeof hex, "#%02lx%02lx%02lx", std::lround(255 * colour.values[0]),
                      std::lround(255 * colour.values[1]), std::lround(255 * colour.values[2]));
        CAPTURE(stop);
        CHECK(contains(command, std::to_string(stop) + " '" + hex + "'"));
    }
}

TEST_CASE("a span leaves out the outer percents, and is never empty") {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> values(200);
    for (int i = 0; i < 200; ++i) values[(i * 77) % 200] = float(i);  // 77 and 200 share no factor
    values.push_back(nan);
    const tvmap::Span span = tvmap::middle_span(values, 1);
    CHECK(span.from == 2);
    CHECK(span.to == 197);
    CHECK(tvmap::middle_span(values, 50).from == 50);
    for (const std::vector<float>& flat : {std::vector<float>{0.3f}, {0, 0}, {nan}, {}}) {
        const tvmap::Span around = tvmap::middle_span(flat, 0);
        CHECK(around.to > around.from);
    }
}

TEST_CASE("ticks lie on the scale, rise, are short and leave room for their names") {
    const tvmap::Span spans[] = {{0, 0.078}, {0, 1}, {0, 7e-9}, {3, 4}, {0, 12345}};
    for (const tvmap::Span& span : spans) {
        const std::vector<double> ticks = tvmap::linear_ticks(span);
        CAPTURE(span.to);
        CHECK((ticks.size() >= 2 && ticks.size() <= 5));
        CHECK((ticks.front() >= span.from - 1e-12 && ticks.back() <= span.to * (1 + 1e-9)));
    }
    CHECK(tvmap::linear_ticks({0, 0.078}) == std::vector<double>{0, 0.02, 0.04, 0.06});
    CHECK(!std::signbit(tvmap::linear_ticks({0, 1})[0]));

    CHECK(tvmap::logarithmic_ticks({0.001, 1.5}) == std::vector<double>{0.001, 0.01, 0.1, 1});
    for (const tvmap::Span& span :
         {tvmap::Span{0.014, 0.075}, {0.03, 0.11}, {0.05, 0.052}, {1e-8, 300}, {0.2, 0.21}}) {
        const std::vector<double> ticks = tvmap::logarithmic_ticks(span);
        CAPTURE(span.from);
        CHECK((ticks.size() >= 2 && ticks.size() <= 7));
        for (std::size_t i = 0; i < ticks.size(); ++i) {
            CHECK((ticks[i] >= span.from && ticks[i] <= span.to));
            // (Two ends of the scale are as far apart as can be.)
            if (i > 0) CHECK(std::log(ticks[i] / ticks[i - 1]) >= std::log(span.to / span.from) / 6 - 1e-12);
        }
    }
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

TEST_CASE("a quoted text reaches gnuplot as it is, and no part of it is a command") {
    CHECK(tvmap::quoted("a-1") == "\"a-1\"");
    const std::string hostile = "<b>&\"'`touch run` $(touch run) \\n 07\n\t7 {/=30 x} \xce\x9b%d";
    const std::string inside = tvmap::quoted(hostile).substr(1, tvmap::quoted(hostile).size() - 2);
    CHECK(inside.find_first_of("`\"$<>&%{}\n\t'") == std::string::npos);
    const TemporaryFolder folder;
    const std::string said =
        message("set print 'out'\nprint " + tvmap::quoted(hostile) + "\n", folder.path.string());
    if (said == "absent") {
        MESSAGE("SKIPPED: gnuplot is not installed");
        return;
    }
    CHECK(said == "drawn");
    std::ifstream out(folder / "out", std::ios::binary);
    const std::string printed{std::istreambuf_iterator<char>(out), {}};
    CHECK(printed == hostile + "\n");
    CHECK(!fs::exists(folder / "run"));
}

TEST_CASE(
    "a figure is three files; kinds that cannot be drawn are named, and the older ones of them are gone") {
    const TemporaryFolder folder, tools;
    const Path path(tools.path.string() + ":/bin:/usr/bin");
    const tvmap::Figure figure{"a", 100, 50, "plot x"};
    const auto file = [&](const char* ending) { return fs::exists(folder / (std::string("a") + ending)); };
    const std::string draw =
        "f=$(mktemp); cat > $f; sed -n \"s/^set output '\\(.*\\)'/\\1/p\" $f | while read o; do echo > $o; "
        "done\n";
    pretend_gnuplot(tools.path.string(), draw);
    CHECK(tvmap::draw_figures(folder.path.string(), {figure}) == "");
    CHECK((file(".svg") && file(".png") && file(".pdf")));
    pretend_gnuplot(tools.path.string(),
                    draw + "grep -q pngcairo $f && { echo 'no pngcairo' >&2; exit 1; }; exit 0\n");
    const std::string missing = tvmap::draw_figures(folder.path.string(), {figure});
    CHECK(contains(missing, ": a.png (gnuplot failed"));
    CHECK(contains(missing, "no pngcairo"));
    CHECK((file(".svg") && !file(".png") && file(".pdf")));
    pretend_gnuplot(tools.path.string(), "exit 1\n");
    const std::string all = tvmap::draw_figures(folder.path.string(), {figure, {"b", 1, 1, ""}});
    CHECK(contains(all, ": a.svg, a.png, a.pdf, b.svg, b.png and 1 more ("));
    CHECK(fs::is_empty(folder.path));
}
