// The study's figure of quality: a panel for each question, a scale that no failing training stretches, names that do not
// cover each other.
#include "engine/study/quality_figure.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <regex>
#include <string>
#include <vector>

using tvmap::Figure;
using tvmap::StudyResult;

namespace {

constexpr int tested[] = {8, 64, 256};

/// A training whose gain over a scalar's 30 dB is `gain` at T = 8, and falls by `slope` at each further T.
void add(StudyResult& study, const char* mode, const char* step_sizes, int T, double gain, double slope = 0) {
    tvmap::TrainedRow row;
    row.mode = mode, row.step_sizes = step_sizes, row.iterations = T;
    study.training.push_back(row);
    for (int i = 0; i < 3; ++i)
        study.iterations.push_back({mode, step_sizes, T, tested[i], 20, 30, 30 + gain - i * slope, 0.9});
}

StudyResult example() {
    StudyResult study;
    add(study, "masks", "none", 64, 0.5);
    add(study, "stored", "none", 64, 0.501);
    add(study, "truncated:1", "none", 64, -1, 5);
    add(study, "implicit", "none", 64, 0.502);
    add(study, "masks", "none", 8, 0.2);
    add(study, "masks", "none", 256, 0.6);
    add(study, "masks", "shared", 8, 0.25);
    add(study, "masks", "per_step", 8, 0.3);
    return study;
}

bool contains(const std::string& whole, const std::string& part) {
    return whole.find(part) != std::string::npos;
}

/// Groups of each match.
std::vector<std::smatch> matches(const std::string& text, const std::string& pattern) {
    const std::regex expression(pattern);
    return {std::sregex_iterator(text.begin(), text.end(), expression), std::sregex_iterator()};
}

}  // namespace

TEST_CASE("what falls far below is cut off and named; the others keep their scale") {
    const std::optional<Figure> figure = tvmap::quality_figure(example());
    REQUIRE(figure);
    const std::string& commands = figure->commands;
    const auto range = matches(commands, R"(set yrange \[([-.0-9e]+):([-.0-9e]+)\])");
    REQUIRE(range.size() == 1);
    const double from = std::stod(range[0][1]), to = std::stod(range[0][2]);
    CHECK((from < 0 && from > -1));  // 0 is on it, the best scalar
    CHECK((to > 0.6 && to < 1));
    CHECK(contains(commands, tvmap::quoted("▼ truncated:1: down to -11.0 dB")));
    CHECK(matches(commands, tvmap::quoted("down to").substr(1, 7)).size() == 1);
}

TEST_CASE("a panel for each question, with a name for each curve that is apart from the next") {
    const std::optional<Figure> figure = tvmap::quality_figure(example());
    REQUIRE(figure);
    const std::string& commands = figure->commands;
    std::vector<std::string> panels;
    for (std::size_t from = commands.find("set title"); from != commands.npos;) {
        const std::size_t next = commands.find("set title", from + 1);
        panels.push_back(commands.substr(from, next - from));
        from = next;
    }
    REQUIRE(panels.size() == 3);
    const char* const questions[] = {"which gradient? (trained at T = 64)", "trained at which T? (masks)",
                                     "learned step sizes?"};
    const std::vector<std::string> names[] = {{"masks", "stored", "implicit"},
                                              {"T = 64", "T = 8", "T = 256"},
                                              {"T = 8, fixed", "T = 8, shared", "T = 8, per step"}};
    for (int p = 0; p < 3; ++p) {
        CAPTURE(questions[p]);
        CHECK(contains(panels[p], tvmap::quoted(questions[p])));
        for (const std::string& name : names[p])
            CHECK(contains(panels[p], "set label " + tvmap::quoted(name) + " at"));
        std::vector<double> heights;
        for (const std::smatch& label : matches(panels[p], R"(at graph 1\.05, first ([-.0-9e]+))"))
            heights.push_back(std::stod(label[1]));
        CHECK(heights.size() == names[p].size());
        std::sort(heights.begin(), heights.end());
        for (std::size_t i = 1; i < heights.size(); ++i)
            CHECK(heights[i] - heights[i - 1] > 0.03);  // dB of 0.7
    }
}

TEST_CASE("one training is a figure; no number is none") {
    StudyResult study;
    add(study, "masks", "none", 8, 0.1);
    CHECK(tvmap::quality_figure(study));
    for (tvmap::TestedRow& row : study.iterations) row.psnr = std::numeric_limits<double>::quiet_NaN();
    CHECK(!tvmap::quality_figure(study));
    CHECK(!tvmap::quality_figure({}));
}
