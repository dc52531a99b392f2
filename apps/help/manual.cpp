#include "apps/help/manual.h"

#include "apps/program/command_table.h"
#include "engine/config/key_names.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// A text as roff shows it to the letter: \ and hyphens escaped, nothing at its start that were a request.
std::string roff(const std::string& text) {
    std::string escaped;
    if (text.starts_with('.') || text.starts_with('\'')) escaped = "\\&";
    for (const char c : text) {
        if (c == '\\')
            escaped += "\\e";
        else if (c == '-')
            escaped += "\\-";
        else if (c == '\n')
            escaped += ' ';
        else
            escaped += c;
    }
    return escaped;
}

std::string bold(const std::string& text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + roff(text) + "\\fR"; }

/// A term and what it means.
std::string entry(const std::string& term, const std::string& meaning) {
    return ".TP\n" + term + "\n" + meaning + "\n";
}

std::string entry(const Argument& argument) {
    std::string term = argument.letter.empty() ? "" : bold(argument.letter) + ", ";
    term += bold(argument.name);
    if (!argument.alias.empty()) term += ", " + bold(argument.alias);
    if (!argument.value.empty()) term += " " + italic(argument.value);
    if (argument.several && argument.name[0] != '-') term += " ...";
    std::string meaning = argument.description;
    if (argument.required) meaning += " (required)";
    if (!argument.usual.empty()) meaning += " (default: " + argument.usual + ")";
    return entry(term, roff(meaning));
}

std::string section(const Command& command) {
    std::string page = ".SS tvmap " + roff(command.name) + "\n" + roff(command.description) + "\n";
    for (const Argument& argument : command.positionals) page += entry(argument);
    for (const Argument& option : command.options)
        if (!option.common) page += entry(option);
    return page + ".PP\nExample:\n.PP\n.nf\n.RS\n" + roff(command.example) + "\n.RE\n.fi\n";
}

std::string keys_section() {
    std::string page =
        ".SH CONFIGURATION\nAn experiment is a YAML file; in it, and in \\fB\\-\\-set\\fR \\fIKEY=VALUE\\fR, "
        "these are the keys.\n";
    const Config usual;
    for (const KeyName& key : key_names()) {
        std::string words;
        for (const std::string& word : key.words) words += (words.empty() ? "" : " | ") + word;
        const std::string value = yaml_value(usual, key.path);
        page += entry(bold(key.path), roff(text(words, words.empty() ? "" : "; ",
                                                "default: ", value == "\"\"" ? "none" : value)));
    }
    return page;
}

}  // namespace

std::string manual_page(const CLI::App& program, const std::string& version) {
    const std::string description = program.get_description();  // NAME: what it is
    const std::vector<Command> commands = described_commands(program);
    // Undated: the same source makes the same page.
    std::string page =
        ".\\\" Made by tvmap help --man from the program's own help.\n.TH TVMAP 1 \"\" \"tvmap " + version +
        "\" \"User Commands\"\n.SH NAME\ntvmap \\- " + roff(description.substr(description.find(": ") + 2)) +
        "\n.SH SYNOPSIS\n.B tvmap\n.I COMMAND\n.RI [ ARGUMENTS ]\n.SH COMMANDS\n";
    for (const Command& command : commands) page += section(command);
    page += ".SH COMMON OPTIONS\nEvery command has them.\n";
    for (const Argument& option : commands.front().options)
        if (option.common) page += entry(option);
    page += keys_section() + ".SH EXIT STATUS\n";
    for (const auto& [code, meaning] : exit_meanings())
        page += entry(bold(std::to_string(code)), roff(meaning));
    page += ".SH ENVIRONMENT\n";
    for (const auto& [name, meaning] : environment_variables()) page += entry(bold(name), roff(meaning));
    return page;
}

}  // namespace tvmap
