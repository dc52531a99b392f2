// The manual page.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

namespace tvmap {

/// tvmap(1) in the language of man(7): what --help says of every command, and the keys of a configuration.
std::string manual_page(const CLI::App& program, const std::string& version);

}  // namespace tvmap
