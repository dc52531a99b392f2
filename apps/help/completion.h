// Completion of the command line, as scripts for shells.
#pragma once
#include <string>
#include <vector>

#include "apps/program/command_table.h"

namespace tvmap {

/// What the scripts are made of.
struct CompletionTable {
    std::vector<Command> commands;
    std::vector<std::string> keys;      ///< of a configuration, each with = behind it
    std::vector<std::string> settings;  ///< KEY=WORD for those whose words are known
};
CompletionTable completion_table(const CLI::App& program);

/// The start of a description, for one line of a menu: up to its first ; or :.
std::string short_description(const Argument& argument);

std::string bash_completion(const CompletionTable& table);
std::string zsh_completion(const CompletionTable& table);
std::string fish_completion(const CompletionTable& table);

}  // namespace tvmap
