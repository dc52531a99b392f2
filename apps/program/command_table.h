// Commands and their options as people see them: what the parser takes, from its own record. Help, manual page and
// completions are made of this table.
#pragma once
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace tvmap {

/// What an option's value is, as its help names it (CLI::Option::type_name) and completion offers it. Another name is
/// that of something to be typed, like FLOAT; words stand as a|b|c.
namespace value {
inline constexpr const char* file = "FILE";
inline constexpr const char* folder = "FOLDER";
inline constexpr const char* number_or_file = "NUMBER|FILE";
inline constexpr const char* name_or_file = "NAME|FILE";
inline constexpr const char* setting = "KEY=VALUE";  // of a configuration
inline constexpr const char* command = "COMMAND";    // of the program
}  // namespace value

/// An option or a positional argument.
struct Argument {
    std::string name;    ///< --set, or config
    std::string letter;  ///< -h, or empty
    std::string alias;   ///< another long name, or empty
    std::string value;   ///< FILE, INT from 0, auto|cpu|cuda; empty for a flag
    std::string usual;   ///< its default; empty where there is none
    std::string description;
    std::vector<std::string> words;                          ///< that its value can be, or can begin with
    bool required = false, several = false, common = false;  ///< common: every command has it

    bool is_flag() const { return value.empty(); }
    /// Whether one of the alternatives of its value is this.
    bool takes(const std::string& kind) const;
};

struct Command {
    std::string name, description, example;
    std::vector<Argument> positionals, options;
};

/// The option group of those that every command has.
inline constexpr const char* common_group = "Common options";

/// The command's own record; for the program itself its two options.
Command described(const CLI::App& command);

/// All commands of the program, in the order in which they were added.
std::vector<Command> described_commands(const CLI::App& program);

/// What the program ends with, one code and its meaning each.
struct ExitMeaning {
    int code;
    const char* meaning;
};
const std::vector<ExitMeaning>& exit_meanings();

/// Environment variables that the program looks at.
struct Variable {
    const char *name, *meaning;
};
const std::vector<Variable>& environment_variables();

}  // namespace tvmap
