// tvmap help: what --help prints, and the manual page.
#include <memory>

#include "apps/help/manual.h"
#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/help_text.h"

namespace tvmap {
namespace {

struct Options {
    std::string command;
    bool man = false;
};

int run(const Program& program, const Options& options, const CommonOptions& common) {
    if (options.man && !options.command.empty())
        throw UsageError("--man prints one page on all commands; leave " + options.command + " away");
    const CLI::App* wanted = &program.commands();
    if (!options.command.empty()) {
        const auto named = wanted->get_subcommands(
            [&](const CLI::App* command) { return command->get_name() == options.command; });
        if (named.empty()) throw UsageError(program.unknown_command(options.command));
        wanted = named.front();
    }
    const std::string help = options.man ? manual_page(*wanted, TVMAP_VERSION) : help_text(*wanted);
    print_result(common, Json{{"command", "help"}, {"text", help}}, help);
    return success;
}

}  // namespace

void add_help(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command = program.add(
        "help", "what a command's --help prints, or the manual page", "tvmap help train",
        [options, &program](const CommonOptions& common) { return run(program, *options, common); });
    command.add_option("command", options->command, "of tvmap; all commands where none is named")
        ->type_name(value::command);
    command.add_flag("--man", options->man, "print the manual page, for man -l");
}

}  // namespace tvmap
