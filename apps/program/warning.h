// Warnings: what a result does not show.
#pragma once
#include <iostream>
#include <string>

namespace tvmap {

/// A line on standard error, also with --quiet; nothing where `message` is "".
inline void print_warning(const std::string& command, const std::string& message) {
    if (!message.empty()) std::cerr << "tvmap " << command << ": warning: " << message << std::endl;
}

}  // namespace tvmap
