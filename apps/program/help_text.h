// What --help prints.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

namespace tvmap {

/// Of one command; or of the program, with its list of commands. At most 80 columns.
std::string help_text(const CLI::App& command);

}  // namespace tvmap
