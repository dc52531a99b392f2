// Numbers in columns.
#pragma once
#include <cstdarg>
#include <cstdio>
#include <string>

namespace tvmap {

/// printf into a string.
[[gnu::format(printf, 1, 2)]] inline std::string format(const char* pattern, ...) {
    va_list arguments, again;
    va_start(arguments, pattern);
    va_copy(again, arguments);
    std::string line(std::size_t(std::vsnprintf(nullptr, 0, pattern, arguments)), '\0');
    std::vsnprintf(line.data(), line.size() + 1, pattern, again);
    va_end(again);
    va_end(arguments);
    return line;
}

}  // namespace tvmap
