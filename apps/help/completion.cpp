// tvmap completion: a script that teaches a shell the commands, options, values and keys.
#include "apps/help/completion.h"

#include <algorithm>
#include <memory>

#include "apps/program/command.h"
#include "engine/config/key_names.h"

namespace tvmap {
namespace {

int run(const Program& program, const std::string& shell, const CommonOptions& common) {
    const CompletionTable table = completion_table(program.commands());
    const std::string script = shell == "bash"  ? bash_completion(table)
                               : shell == "zsh" ? zsh_completion(table)
                                                : fish_completion(table);
    print_result(common, Json{{"command", "completion"}, {"shell", shell}, {"script", script}}, script);
    return success;
}

}  // namespace

CompletionTable completion_table(const CLI::App& program) {
    CompletionTable table{described_commands(program), {}, {}};
    std::vector<std::string> names;
    for (const Command& command : table.commands) names.push_back(command.name);
    for (Command& command : table.commands)
        for (Argument& positional : command.positionals)
            if (positional.takes(value::command)) positional.words = names;
    for (const KeyName& key : key_names()) {
        table.keys.push_back(key.path + "=");
        for (const std::string& word : key.words) table.settings.push_back(key.path + "=" + word);
    }
    return table;
}

std::string short_description(const Argument& argument) {
    const std::string& whole = argument.description;
    return whole.substr(0, std::min(whole.find("; "), whole.find(": ")));
}

void add_completion(Program& program) {
    auto shell = std::make_shared<std::string>();
    CLI::App& command =
        program.add("completion", "print a script that completes command lines, for a shell",
                    "source <(tvmap completion bash)",
                    [shell, &program](const CommonOptions& common) { return run(program, *shell, common); });
    command.add_option("shell", *shell, "that is to complete")
        ->check(CLI::IsMember({"bash", "zsh", "fish"}))
        ->required();
}

}  // namespace tvmap
