// CSV files (RFC 4180): fields as they are written, texts and numbers, and files as spreadsheets save them.
#pragma once
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "engine/files/decimal.h"

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

/// What csv_number wrote; NaN where a field is no number.
inline double csv_value(const std::string& field) {
    if (field == "inf" || field == "-inf")
        return field == "inf" ? std::numeric_limits<double>::infinity()
                              : -std::numeric_limits<double>::infinity();
    return parse_decimal<double>(field).value_or(std::numeric_limits<double>::quiet_NaN());
}

/// One record of a file.
struct CsvRecord {
    int line = 0;  ///< where it starts, from 1
    std::vector<std::string> fields;
};

/// The records of a file that are not empty. Fields may stand in quotes and hold line breaks there; lines may
/// end with CR, LF or both; a byte order mark is passed over. The separator is whichever of comma, semicolon
/// and tab is most frequent in the first line.
std::vector<CsvRecord> parse_csv(std::string_view content);

}  // namespace tvmap
