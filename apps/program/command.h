// What every subcommand shares: options, progress, results, interruption, exit codes. To add a subcommand,
// write apps/commands/NAME.cpp with a function add_NAME(Program&) and name it in main.cpp.
#pragma once
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include <CLI/CLI.hpp>

#include "kernels/base/error.h"

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
    std::string isa = "auto";
    int threads = 0;           ///< as asked for; 0: not at all
    std::string threads_from;  ///< why thread_count() is what it is
    std::string command_line;  ///< as it was given, in a shell's quotes where they are needed
    bool quiet = false, json = false;
};

using Json = nlohmann::ordered_json;

class Program {
  public:
    Program();

    /// Adds a subcommand with the common options; `run` does its work and gives the exit code.
    CLI::App& add(const std::string& name, const std::string& description, const std::string& example,
                  std::function<int(const CommonOptions&)> run);

    /// All that was added, for what tells about it.
    const CLI::App& commands() const { return app_; }
    /// The message on a command that there is not.
    std::string unknown_command(const std::string& given) const;

    /// Parses, runs, and turns whatever happens into one line and an exit code.
    int main(int argc, char** argv);

  private:
    void start_threads();

    CLI::App app_;
    CommonOptions common_;
    std::function<int(const CommonOptions&)> chosen_;
    std::string name_ = "tvmap";
};

/// What a number can be where nothing else is said: all of its type, but no more than 32-bit floating point
/// holds.
template <class Number>
constexpr Number least_number = std::is_integral_v<Number> ? std::numeric_limits<Number>::lowest()
                                                           : Number(std::numeric_limits<float>::lowest());
template <class Number>
constexpr Number greatest_number = std::is_integral_v<Number> ? std::numeric_limits<Number>::max()
                                                              : Number(std::numeric_limits<float>::max());

/// Adds an option that takes one number from `least` to `most` as parse_decimal reads it, and shows its
/// present value as the default. (CLI11's own conversions take 010 for eight, wrap what does not fit, and
/// follow the locale.) For int, std::uint64_t and double.
template <class Number>
CLI::Option* add_number(CLI::App& command, const std::string& name, Number& value,
                        const std::string& description, Number least = least_number<Number>,
                        Number most = greatest_number<Number>);

/// A line on standard error once the work goes well: on what it is done, device and precision (nothing with
/// --quiet).
void print_banner(const CommonOptions& common, const std::string& work, const std::string& device);

/// Prints a result on standard output: the JSON object with --json, else the text (nothing with --quiet).
void print_result(const CommonOptions& common, const Json& json, const std::string& text);

/// A word of a command as a shell reads it: between quotes where it has to be.
std::string shell_word(const std::string& word);

/// A number with `digits` significant digits, for texts and CSV files.
std::string number(double value, int digits = 6);

}  // namespace tvmap
