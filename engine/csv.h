// Fields of CSV files (RFC 4180).
#pragma once
#include <string>

namespace tvmap {

/// A text as one field: in quotes, its own doubled, where it would not be one field otherwise.
inline std::string csv_field(const std::string& content) {
    if (content.find_first_of(",\"\r\n") == std::string::npos) return content;
    std::string quoted = "\"";
    for (const char c : content) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
}

}  // namespace tvmap
