// A host program whose locale has a decimal comma and groups digits, for C and for C++: texts, tables and
// files are the same to the byte, and what was written before is read as before.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <clocale>
#include <cstdlib>
#include <functional>
#include <locale>
#include <sstream>

#include "engine/data/phantoms.h"
#include "engine/evaluation/evaluator.h"
#include "engine/files/file.h"
#include "engine/files/format.h"
#include "engine/study/study.h"
#include "engine/training/trainer.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;

/// For the leak sanitizer: glibc's setlocale() does not free the list that it makes of LOCPATH.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:__argz_add_sep"; }

namespace {

/// Compiles such a locale, since none may be installed, and sets it while it lives.
class DecimalComma {
  public:
    DecimalComma() {
        write_file(folder_ / "definition",
                   "comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point \"<U002C>\"\n"
                   "thousands_sep \"<U002E>\"\ngrouping 3;3\nEND LC_NUMERIC\n");
        write_file(folder_ / "characters",
                   "<code_set_name> UTF-8\n<comment_char> %\n<escape_char> /\nCHARMAP\n"
                   "<U0000>..<U007F> /x00\nEND CHARMAP\n");
        // It ends with 1 for a warning: the other categories are left out, and then those of "C".
        const std::string command = "cd '" + folder_.path.string() +
                                    "' && localedef -c -i ./definition -f ./characters ./comma 2>log.txt";
        static_cast<void>(std::system(command.c_str()));
        ::setenv("LOCPATH", folder_.path.c_str(), 1);
        REQUIRE_MESSAGE(std::setlocale(LC_ALL, "comma"), read_file(folder_ / "log.txt"));
        before_ = std::locale::global(std::locale("comma"));
    }
    ~DecimalComma() {
        std::locale::global(before_);
        std::setlocale(LC_ALL, "C");
    }
    DecimalComma(const DecimalComma&) = delete;
    DecimalComma& operator=(const DecimalComma&) = delete;

  private:
    TemporaryFolder folder_;
    std::locale before_;
};

/// The same text here and there.
void check_same(const std::function<std::string()>& make) {
    const std::string classic = make();
    CHECK(classic.find_first_of("0123456789") != std::string::npos);
    const DecimalComma comma;
    CHECK(make() == classic);
}

/// A plan's table with each number, and the spaces before it, as one digit. Without the rows of what the process
/// has in use: they differ from plan to plan, and their figures look like the others.
std::string form_of(const std::string& table) {
    std::istringstream lines(table);
    std::string form;
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("primitives") || line.starts_with("timing")) continue;
        for (const char c : line) {
            const bool digit = '0' <= c && c <= '9';
            if (digit) form.erase(form.find_last_not_of(' ') + 1);
            if (!digit || !form.ends_with('9')) form += digit ? '9' : c;
        }
        form += '\n';
    }
    return form;
}

/// Small runs on phantoms. Everything on one thread, so that it is the same to the bit.
struct Workshop {
    TemporaryFolder folder;
    Config config;

    Workshop() {
        set_threads(1);
        ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
        write_phantoms(folder / "images", 3, 24, 7);
        config.data.train = config.data.val = config.data.test = folder / "images";
        config.data.size = 24;
        config.data.limit = {3, 2, 3};
        config.network.channels = {4, 6};
        config.solver.iterations = 6;
        config.optimiser.rate = 2.5e-3;
        config.train.epochs = 2;
        config.evaluate.iterations = 8;
        config.evaluate.search.count = 5;
    }

    void train(const std::string& run, bool resume, int stop_after = -1) const {
        std::atomic<bool> stop{false};
        Trainer trainer(config, folder / run, resume);
        int steps = 0;
        trainer.run([&](const TrainReport&) { stop = ++steps == stop_after; }, stop);
    }

    std::string file(const std::string& name) const { return read_file(folder / name); }

    /// A run's metrics without the seconds, which no two runs share.
    std::string metrics(const std::string& run) const {
        std::istringstream lines(file(run + "/metrics.csv"));
        std::string result;
        for (std::string line; std::getline(lines, line);) result += line.substr(0, line.rfind(',')) + "\n";
        return result;
    }

    void evaluate(const std::string& run) const {
        const auto backend = make_backend("cpu");
        const std::atomic<bool> stop{false};
        tvmap::evaluate(
            *backend, config, folder / (run + "/checkpoints/last.safetensors"),
            folder / (run + "/evaluation"), 0, [](int, int) {}, stop);
    }
};

}  // namespace

TEST_CASE("the locale that these tests set has a decimal comma and groups digits") {
    const DecimalComma comma;
    char line[32];
    std::snprintf(line, sizeof line, "%.2f", 1.5);
    CHECK(line == std::string("1,50"));
    std::ostringstream stream;
    stream << 1234567 << ' ' << 1.5;
    CHECK(stream.str() == "1.234.567 1,5");
}

TEST_CASE("texts") {
    check_same([] { return text(1234567, " ", 0.5, " ", std::hex, 0x123456789abcull); });
    check_same([] { return format("%.3f %8.2e %d", 1234.5, 1e-7, 1234567); });
}

TEST_CASE("configurations") {
    Config config;
    config.map.scale = 0.0625;
    config.evaluate.sigma = {0.25, 1234.5};
    config.train.memory_limit = 123456789;
    check_same([&] { return config.to_yaml(); });
    const DecimalComma comma;
    CHECK(parse_config(config.to_yaml(), "experiment").to_yaml() == config.to_yaml());
    CHECK(parse_config("", "experiment", {"map.scale=0.25"}).map.scale == 0.25);
    CHECK(parse_config("train: {memory_limit: 1.5kB}", "experiment").train.memory_limit == 1500);
    CHECK_THROWS_AS(parse_config("map: {scale: \"0,25\"}", "experiment"), Error);
}

TEST_CASE("tables") {
    const Workshop shop;
    check_same([&] { return form_of(Trainer::plan(shop.config).table); });
    StudyResult study;
    study.gradient.push_back({"masks", 64, 1024, 0.0125, 0.25, 12345678, 12345678, {0.5, 1.5}, {}, {}, 8});
    study.training.push_back({"masks", "none", 8, 1500, 0.0125, 12345678, 12345678, 0.5, 31.25, 0.75});
    study.iterations.push_back({"masks", "none", 8, 256, 19.5, 30.25, 31.25, 0.75});
    check_same([&] { return study.summary(); });
    check_same([&] {
        std::string all;
        for (const auto& [name, content] : study_files(study)) all += content;
        return all;
    });
}

TEST_CASE("a run: interrupted and resumed in another locale, its files and its evaluation are the same") {
    const Workshop shop;
    shop.train("classic", false);
    shop.evaluate("classic");
    shop.train("begun", false, 4);  // in the second epoch
    {
        const DecimalComma comma;
        shop.train("begun", true);
        shop.train("comma", false, 4);
        shop.evaluate("begun");
    }
    shop.train("comma", true);
    for (const std::string run : {"begun", "comma"}) {
        CAPTURE(run);
        CHECK(shop.metrics(run) == shop.metrics("classic"));
        CHECK(shop.file(run + "/config.yaml") == shop.file("classic/config.yaml"));
        CHECK(shop.file(run + "/algorithms.json") == shop.file("classic/algorithms.json"));
        CHECK((shop.file(run + "/checkpoints/last.safetensors") ==
               shop.file("classic/checkpoints/last.safetensors")));
    }
    for (const std::string name : {"per_image.csv", "curves.csv", "summary.csv", "summary.txt"})
        CHECK(shop.file("begun/evaluation/" + name) == shop.file("classic/evaluation/" + name));
}
