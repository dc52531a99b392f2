// Times as texts have them.
#pragma once
#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "engine/files/decimal.h"

namespace tvmap {

/// What a text has to be for parse_seconds.
inline constexpr const char* duration_form =
    "a time: seconds, or a number with a unit, like 90s, 30m or 1.5h";

/// Seconds, of s, m (60 s) or h (3600 s). Nothing for any other text, nor for more than a thousand years.
inline std::optional<double> parse_seconds(const std::string& given) {
    static const std::map<std::string, double> units = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}};
    constexpr double most = 3e10;
    const std::size_t digits = std::min(given.find_first_not_of("0123456789.e+-"), given.size());
    const std::size_t unit = std::min(given.find_first_not_of(' ', digits), given.size());
    const auto factor = units.find(given.substr(unit));
    const std::optional<double> number = parse_decimal<double>(given.substr(0, digits));
    if (factor == units.end() || !number || *number < 0 || *number * factor->second > most)
        return std::nullopt;
    return *number * factor->second;
}

}  // namespace tvmap
