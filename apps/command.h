// What every subcommand shares: options, progress, results, interruption, exit codes. To add a subcommand,
// write apps/NAME.cpp with a function add_NAME(Program&) and name it in main.cpp.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include <CLI/CLI.hpp>

#include "kernels/error.h"

namespace tvmap {

/// What the program ends with. (Failure: one line on standard error says what and where.)
enum ExitCode { success = 0, failure = 1, wrong_usage = 2, gap_not_reached = 3, was_interrupted = 130 };

/// Thrown for arguments that do not fit together: exit code 2.
struct UsageError : Error {
    using Error::Error;
};

/// The options that every subcommand has.
struct CommonOptions {
    std::string device = "auto";
    int threads = 0;  ///< 0: one per core
    bool quiet = false, json = false;
};

using Json = nlohmann::ordered_json;

class Program {
  public:
    Program();

    /// Adds a subcommand with the common options; `run` does its work and gives the exit code.
    CLI::App& add(const std::string& name, const std::string& description, const std::string& example,
                  std::function<int(const CommonOptions&)> run);

    /// Parses, runs, and turns whatever happens into one line and an exit code.
    int main(int argc, char** argv);

  private:
    std::string unknown_command(const std::string& given) const;

    CLI::App app_;
    CommonOptions common_;
    std::function<int(const CommonOptions&)> chosen_;
    std::string name_ = "tvmap";
};

/// Set by the first Ctrl-C (or SIGTERM) from the first call on; the second one ends the process at once.
const std::atomic<bool>& interrupted();

/// A line on standard error with rate and time left: rewritten in place on a terminal, now and then in a log.
class ProgressLine {
  public:
    ProgressLine(std::string label, double total, std::string unit, bool quiet);
    ~ProgressLine();
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    /// `done` of `total`; `more` is appended.
    void update(double done, const std::string& more = "");

  private:
    using Clock = std::chrono::steady_clock;
    std::string label_, unit_;
    double total_;
    bool quiet_, terminal_, shown_ = false;
    Clock::time_point start_ = Clock::now(), last_ = start_;
};

/// A line on standard error once the work goes well: on what it is done, device and precision (nothing with
/// --quiet).
void print_banner(const CommonOptions& common, const std::string& work, const std::string& device);

/// Prints a result on standard output: the JSON object with --json, else the text (nothing with --quiet).
void print_result(const CommonOptions& common, const Json& json, const std::string& text);

/// Makes the folder of an output and proves that it can be written in, before any work.
void prepare_output(const std::string& path);

/// A number with `digits` significant digits, for texts and CSV files.
std::string number(double value, int digits = 6);

}  // namespace tvmap
