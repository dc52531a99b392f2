#include "apps/program/help_text.h"

#include <algorithm>

#include "apps/program/command_table.h"
#include "engine/files/printable.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

constexpr std::size_t columns = 80, description_column = 30;

/// Columns that UTF-8 takes on a terminal, marks above letters not counted.
std::size_t width_of(const std::string& line) {
    std::size_t width = 0;
    for (std::size_t i = 0; i < line.size();) {
        const std::size_t bytes = std::max<std::size_t>(character_bytes(std::string_view(line).substr(i)), 1);
        const bool mark = bytes == 2 && (line[i] == '\xcc' || line[i] == '\xcd');  // U+0300 … U+037F
        width += mark ? 0 : 1;
        i += bytes;
    }
    return width;
}

/// `left`, and beside it `text` in lines from column `indent` on; below it where `left` is too long.
std::string wrapped(const std::string& left, const std::string& text, std::size_t indent) {
    std::string lines, line = left;
    if (width_of(line) + 2 > indent && !line.empty()) {
        lines = line + "\n";
        line.clear();
    }
    line += std::string(indent - width_of(line), ' ');
    bool empty = true;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find(' ', begin), text.size());
        const std::string word = text.substr(begin, end - begin);
        begin = end + 1;
        if (!empty && width_of(line) + 1 + width_of(word) > columns) {
            lines += line + "\n";
            line = std::string(indent, ' ');
            empty = true;
        }
        line += (empty ? "" : " ") + word;
        empty = false;
    }
    return lines + line + "\n";
}

std::string row(const Argument& argument) {
    std::string left = "  " + (argument.letter.empty() ? "" : argument.letter + ", ") + argument.name +
                       (argument.alias.empty() ? "" : ", " + argument.alias);
    if (!argument.value.empty())
        left += " " + argument.value + (argument.several && argument.name[0] != '-' ? " ..." : "");
    std::string right = argument.description;
    if (argument.required) right += " (required)";
    if (!argument.usual.empty()) right += " (default: " + argument.usual + ")";
    return wrapped(left, right, description_column);
}

std::string usage(const Command& command) {
    std::string line = "tvmap " + command.name;
    for (const Argument& positional : command.positionals) {
        const std::string name = positional.name + (positional.several ? "..." : "");
        line += positional.required ? " " + name : " [" + name + "]";
    }
    for (const Argument& option : command.options)
        if (option.required) line += " " + option.name + " " + option.value;
    return line + " [options]";
}

std::string exit_codes() {
    std::string lines = "\nExit codes:\n";
    for (const auto& [code, meaning] : exit_meanings())
        lines += wrapped("  " + std::to_string(code), meaning, 7);
    return lines;
}

std::string program_help(const CLI::App& program) {
    std::string help =
        wrapped("", program.get_description(), 0) + "\nUsage: tvmap COMMAND ...\n\nCommands:\n";
    for (const Command& command : described_commands(program))
        help += wrapped("  " + command.name, command.description, 15);
    help += "\nOptions:\n";
    for (const Argument& option : described(program).options) help += row(option);
    help += exit_codes() + "\nEnvironment:\n";
    for (const auto& [name, meaning] : environment_variables())
        help += wrapped(std::string("  ") + name, meaning, description_column);
    return help + "\ntvmap COMMAND --help shows a command's options and an example.\n";
}

}  // namespace

std::string help_text(const CLI::App& command) {
    if (command.get_parent() == nullptr) return program_help(command);
    const Command found = described(command);
    std::string help = wrapped("", "tvmap " + found.name + ": " + found.description, 0) + "\n" +
                       wrapped("", "Usage: " + usage(found), 0);
    if (!found.positionals.empty()) help += "\nArguments:\n";
    for (const Argument& positional : found.positionals) help += row(positional);
    bool common = false;
    if (!found.options.empty() && !found.options.front().common) help += "\nOptions:\n";
    for (const Argument& option : found.options) {
        if (option.common && !common) help += text("\n", common_group, ":\n");
        common = option.common;
        help += row(option);
    }
    return help + exit_codes() + "\nExample:\n  " + found.example + "\n";
}

}  // namespace tvmap
