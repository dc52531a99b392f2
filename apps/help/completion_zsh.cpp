// Completion for zsh, by its _arguments.
#include "apps/help/completion.h"

namespace tvmap {
namespace {

/// In single quotes, as _arguments reads it: its own marks are made harmless.
std::string plain(const std::string& text) {
    std::string quoted;
    for (const char c : text) {
        if (c == '\'')
            quoted += "'\\''";
        else if (c == '[' || c == ']' || c == ':' || c == '\\')
            quoted += std::string("\\") + c;
        else
            quoted += c;
    }
    return quoted;
}

std::string action(const Argument& argument) {
    if (argument.takes(value::setting)) return "_tvmap_settings";
    if (argument.takes(value::folder)) return "_files -/";
    if (argument.takes(value::file)) return "_files";
    std::string whole, begun;  // what is the start of a word has no blank behind it
    for (const std::string& word : argument.words) (word.ends_with(':') ? begun : whole) += " " + plain(word);
    if (!begun.empty()) return "{compadd --" + whole + "; compadd -S \"\" --" + begun + "}";
    return whole.empty() ? " " : "(" + whole + ")";
}

/// What is taken, as a message.
std::string message(const Argument& argument) { return plain(argument.value); }

std::string specification(const Argument& argument) {
    if (argument.name[0] != '-')
        return std::string("'") + (argument.several ? "*" : "") + ":" + plain(argument.name) + ":" +
               action(argument) + "'";
    const std::string about = "[" + plain(short_description(argument)) + "]";
    const std::string repeated = argument.several ? "*" : "";
    if (!argument.letter.empty())
        return "'(" + argument.letter + " " + argument.name + ")'{" + argument.letter + "," + argument.name +
               "}'" + about + "'";
    if (argument.is_flag()) return "'" + argument.name + about + "'";
    const std::string rest = about + ":" + message(argument) + ":" + action(argument) + "'";
    if (!argument.alias.empty())
        return "'(" + argument.name + " " + argument.alias + ")'{" + argument.name + "=," + argument.alias +
               "=}'" + rest;
    return "'" + repeated + argument.name + "=" + rest;
}

}  // namespace

std::string zsh_completion(const CompletionTable& table) {
    std::string script = R"(#compdef tvmap
# Completion of tvmap for zsh, made by tvmap completion zsh.
_tvmap_settings() {
    if [[ $PREFIX == *=* ]]; then
        compadd -- $_tvmap_values
    else
        compadd -S '' -- $_tvmap_keys
    fi
}
_tvmap() {
    local curcontext=$curcontext state line
    local -a commands
    typeset -A opt_args
)";
    script += "    local -a _tvmap_keys=(";
    for (const std::string& key : table.keys) script += " " + key;
    script += " )\n    local -a _tvmap_values=(";
    for (const std::string& setting : table.settings) script += " " + setting;
    script += " )\n    commands=(\n";
    for (const Command& command : table.commands)
        script += "        '" + command.name + ":" + plain(command.description) + "'\n";
    script += R"(    )
    _arguments -C '(-h --help)'{-h,--help}'[print this help and end]' '--version[print the version and end]' \
        '1: :->command' '*:: :->arguments'
    case $state in
    command) _describe command commands ;;
    arguments)
        case $words[1] in
)";
    for (const Command& command : table.commands) {
        script += "        " + command.name + ")\n            _arguments";
        for (const Argument& option : command.options)
            script += " \\\n                " + specification(option);
        for (const Argument& positional : command.positionals)
            script += " \\\n                " + specification(positional);
        script += "\n            ;;\n";
    }
    return script + R"(        esac
        ;;
    esac
}
if [[ ${funcstack[1]} == _tvmap ]]; then
    _tvmap "$@"
else
    compdef _tvmap tvmap
fi
)";
}

}  // namespace tvmap
