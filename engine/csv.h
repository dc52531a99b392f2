// Fields of CSV files (RFC 4180), texts and numbers.
#pragma once
#include <cmath>
#include <string>

#include "kernels/decimal.h"

namespace tvmap {

/// A text as one field: in quotes, its own doubled, where it would not be one field otherwise.
inline std::string csv_field(const std::string& content) {
    if (content.find_first_of(",\"\r\n") == std::string::npos) return content;
    std::string quoted = "\"";
    for (const char c : content) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
}

/// A number with so many significant digits; nan, inf or -inf where it is none (NaN is written without its sign).
inline std::string csv_number(double value, int digits = 6) {
    if (std::isnan(value)) return "nan";
    return rounded_decimal(value, digits);
}

}  // namespace tvmap
