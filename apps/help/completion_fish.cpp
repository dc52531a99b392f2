// Completion for fish.
#include "apps/help/completion.h"

namespace tvmap {
namespace {

std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text) result += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    return result + "'";
}

std::string listed(const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
    return line;
}

/// Of `complete`: what stands behind the option, or as an argument.
std::string action(const Argument& argument) {
    if (argument.is_flag()) return "";
    if (argument.takes(value::setting)) return " -x -a '(__tvmap_settings)'";
    if (argument.takes(value::folder)) return " -x -a '(__fish_complete_directories (commandline -ct))'";
    if (argument.takes(value::file)) return " -r -F";
    return argument.words.empty() ? " -x" : " -x -a " + quoted(listed(argument.words));
}

}  // namespace

std::string fish_completion(const CompletionTable& table) {
    std::string script = R"(# Completion of tvmap for fish, made by tvmap completion fish.
function __tvmap_command # NAME: whether the line is one of this command; without a name, whether it has none yet
    set -l words (commandline -opc)
    if set -q argv[1]
        test (count $words) -gt 1; and test "$words[2]" = $argv[1]
    else
        test (count $words) -eq 1
    end
end
function __tvmap_settings
    if string match -q '*.*=*' -- (commandline -ct)
        printf '%s\n' )";
    script += listed(table.settings) + "\n    else\n        printf '%s\\n' " + listed(table.keys) +
              "\n    end\nend\n" + "complete -c tvmap -e\n" +
              "complete -c tvmap -n __tvmap_command -f -s h -l help -d 'print this help and end'\n" +
              "complete -c tvmap -n __tvmap_command -f -l version -d 'print the version and end'\n";
    for (const Command& command : table.commands)
        script += "complete -c tvmap -n __tvmap_command -f -a " + command.name + " -d " +
                  quoted(command.description) + "\n";
    for (const Command& command : table.commands) {
        const std::string line = "complete -c tvmap -n '__tvmap_command " + command.name + "'";
        for (const Argument& option : command.options)
            script += line + (option.letter.empty() ? "" : " -s " + option.letter.substr(1)) + " -l " +
                      option.name.substr(2) + (option.alias.empty() ? "" : " -l " + option.alias.substr(2)) +
                      action(option) + " -d " + quoted(short_description(option)) + "\n";
        if (command.positionals.empty())
            script += line + " -f\n";
        else if (!command.positionals.front().takes(value::file))
            script += line + action(command.positionals.front()) + "\n";
    }
    return script;
}

}  // namespace tvmap
