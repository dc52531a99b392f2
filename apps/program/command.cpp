#include "apps/program/command.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <new>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "apps/program/command_table.h"
#include "apps/program/help_text.h"
#include "engine/config/edit_distance.h"
#include "engine/files/decimal.h"
#include "engine/files/printable.h"
#include "kernels/backend.h"
#include "kernels/base/room.h"
#include "kernels/base/simd.h"
#include "kernels/convolution/convolution.h"
#include "kernels/threads/threads.h"

namespace tvmap {
namespace {

int report(const std::string& name, const std::string& message, int code) {
    std::string line = name + ": " + message;
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::cerr << printable(line) << std::endl;
    return code;
}

/// The command line as CLI11 wants it, the last argument first. It would split [a,b] into two; such an argument can
/// only be a file's name here, and ./ in front of it is the same file.
std::vector<std::string> arguments(int argc, char** argv) {
    std::vector<std::string> reversed;
    for (int i = argc - 1; i > 0; --i) {
        std::string argument = argv[i];
        const std::size_t value = argument.starts_with("--") ? argument.find('=') + 1 : 0;
        if (argument.ends_with(']') && argument[value] == '[') argument.insert(value, "./");
        reversed.push_back(std::move(argument));
    }
    return reversed;
}

/// Refuses options that were given without a value: "" is what an unset variable of a shell leaves.
void refuse_empty_values(const CLI::App& app) {
    for (const CLI::App* command : app.get_subcommands())
        for (const CLI::Option* option : command->get_options())
            for (const std::string& value : option->results())
                if (value.empty())
                    throw UsageError(text(option->get_name(), ": an empty value; give one, or leave it out"));
}

/// The command line as a shell would read it again.
std::string shell_line(int argc, char** argv) {
    std::string line = "tvmap";
    for (int i = 1; i < argc; ++i) line += " " + shell_word(argv[i]);
    return line;
}

}  // namespace

std::string shell_word(const std::string& word) {
    constexpr char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+.,:/@%";
    if (!word.empty() && word.find_first_not_of(plain) == word.npos) return word;
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

template <class Number>
CLI::Option* add_number(CLI::App& command, const std::string& name, Number& value,
                        const std::string& description, Number least, Number most) {
    const std::string kind = std::is_integral_v<Number> ? "a whole number" : "a number";
    const std::string limits = text(" from ", least, " to ", most);
    const bool limited = least != least_number<Number> || most != greatest_number<Number>;
    const std::string shown = most != greatest_number<Number> ? limits : text(" from ", least);
    const auto take = [=, &value](const std::string& given) {
        const std::optional<Number> number = parse_decimal<Number>(given);
        if (!number || *number < least || *number > most)
            throw CLI::ValidationError(text(name, " ", given, ": give ", kind,
                                            limited || std::is_integral_v<Number> || number ? limits : ""));
        value = *number;
    };
    return command.add_option_function<std::string>(name, take, description)
        ->type_name((std::is_integral_v<Number> ? "INT" : "FLOAT") + (limited ? shown : std::string()))
        ->default_str(text(value));
}
template CLI::Option* add_number(CLI::App&, const std::string&, int&, const std::string&, int, int);
template CLI::Option* add_number(CLI::App&, const std::string&, std::uint64_t&, const std::string&,
                                 std::uint64_t, std::uint64_t);
template CLI::Option* add_number(CLI::App&, const std::string&, double&, const std::string&, double, double);

Program::Program()
    : app_("tvmap: total-variation maps learned through an unrolled primal-dual solver", "tvmap") {
    app_.require_subcommand(1);
    app_.set_help_flag("-h,--help", "print this help and end")->group(common_group);
    app_.set_version_flag("--version", "tvmap " TVMAP_VERSION, "print the version and end");
    app_.formatter_fn(
        [](const CLI::App* command, const std::string&, CLI::AppFormatMode) { return help_text(*command); });
}

CLI::App& Program::add(const std::string& name, const std::string& description, const std::string& example,
                       std::function<int(const CommonOptions&)> run) {
    CLI::App& command = *app_.add_subcommand(name, description);
    command.footer(example);
    command.get_help_ptr()->group(common_group);
    command.add_option("--device", common_.device, "where to compute; auto: a GPU where there is one")
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
        ->capture_default_str()
        ->group(common_group);
    add_number(command, "--threads", common_.threads,
               "CPU threads; 0: OMP_NUM_THREADS, else one per core that may be used", 0, 4096)
        ->group(common_group);
    command
        .add_option(
            "--isa", common_.isa,
            "instruction set of the CPU's kernels, of those that the processor has; auto: the best; for "
            "measurements")
        ->type_name("auto|avx512|avx2|sse2|neon")
        ->capture_default_str()
        ->group(common_group);
    command.add_flag("--quiet", common_.quiet, "print no progress and no text")->group(common_group);
    command.add_flag("--json", common_.json, "print the result as one JSON object on standard output")
        ->group(common_group);
    command.callback([this, name, run = std::move(run)] {
        chosen_ = run;
        name_ = "tvmap " + name;
    });
    return command;
}

std::string Program::unknown_command(const std::string& given) const {
    std::string nearest;
    for (const CLI::App* command : app_.get_subcommands({}))
        if (nearest.empty() || edit_distance(given, command->get_name()) < edit_distance(given, nearest))
            nearest = command->get_name();
    return text("there is no command ", given, "; the nearest is ", nearest, "; see tvmap --help");
}

void Program::start_threads() {
    const ThreadChoice choice = tvmap::start_threads(common_.threads);
    common_.threads_from = choice.origin;
    if (choice.threads < choice.wanted)
        report(name_,
               text("works with ", choice.threads, " of ", choice.wanted,
                    " threads: the system starts no more (ulimit -u, ulimit -v)"),
               success);
}

int Program::main(int argc, char** argv) {
    std::signal(SIGXFSZ, SIG_IGN);  // a file beyond ulimit -f is an error of the write, then
    try {
        common_.command_line = shell_line(argc, argv);
        app_.parse(arguments(argc, argv));
        refuse_empty_values(app_);
        reserve_stack();
        if (common_.isa != "auto") {
            cpu::use_instruction_set(common_.isa);
            cpu::limit_onednn();
        }
        start_threads();
        check_device(common_.device);
        const int code = chosen_(common_);
        std::cout.flush();
        return std::cout ? code : report(name_, "standard output cannot be written", failure);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) {  // --help, --version
            app_.exit(error);
            std::cout.flush();
            return std::cout ? success : report("tvmap", "standard output cannot be written", failure);
        }
        const auto parsed = app_.get_subcommands();
        if (parsed.empty() && argc > 1 && argv[1][0] != '-')
            return report("tvmap", unknown_command(argv[1]), wrong_usage);
        const std::string command = parsed.empty() ? "" : " " + parsed.front()->get_name();
        return report("tvmap" + command, std::string(error.what()) + "; see tvmap" + command + " --help",
                      wrong_usage);
    } catch (const UsageError& error) {
        return report(name_, error.what(), wrong_usage);
    } catch (const Interrupted& stopped) {
        return report(name_, stopped.what(), was_interrupted);
    } catch (const Error& error) {
        return report(name_, error.what(), failure);
    } catch (const std::bad_alloc&) {
        return report(name_, "not enough memory; use smaller images, fewer at a time, or fewer iterations",
                      failure);
    } catch (const std::length_error&) {
        return report(name_, "the sizes asked for exceed any memory; use smaller ones", failure);
    } catch (const std::filesystem::filesystem_error& error) {
        return report(name_,
                      text(error.path1().string(), ": ", error.code().message(),
                           "; check the path and its permissions"),
                      failure);
    } catch (const std::system_error& error) {
        return report(name_,
                      text("the system refuses: ", error.what(),
                           "; it may have no room for another thread, file or process (ulimit -a)"),
                      failure);
    } catch (const std::exception& error) {
        return report(name_, std::string("unexpected failure: ") + error.what(), failure);
    } catch (...) {
        return report(name_, "unexpected failure", failure);
    }
}

void print_banner(const CommonOptions& common, const std::string& work, const std::string& device) {
    if (!common.quiet) std::cerr << work << ": " << device << std::endl;
}

void print_result(const CommonOptions& common, const Json& json, const std::string& text) {
    if (common.json)
        std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
    else if (!common.quiet)
        std::cout << text;
}

std::string number(double value, int digits) { return rounded_decimal(value, digits); }

}  // namespace tvmap
