// Numbers of bytes as texts have them.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "engine/files/decimal.h"

namespace tvmap {

/// What a text has to be for parse_byte_count.
inline constexpr const char* byte_count_form =
    "bytes: a whole number, or one with a unit, like 250MB or 1.5GiB";

/// A number of bytes, or of kB, MB, GB (powers of 1000), KiB, MiB, GiB (of 1024). Nothing for any other text.
inline std::optional<std::uint64_t> parse_byte_count(const std::string& given) {
    static const std::map<std::string, double> units = {{"", 1},         {"B", 1},       {"kB", 1e3},
                                                        {"MB", 1e6},     {"GB", 1e9},    {"KiB", 0x1p10},
                                                        {"MiB", 0x1p20}, {"GiB", 0x1p30}};
    const std::size_t digits = std::min(given.find_first_not_of("0123456789."), given.size());
    const std::size_t unit = std::min(given.find_first_not_of(' ', digits), given.size());
    const auto factor = units.find(given.substr(unit));
    const std::optional<double> number = parse_decimal<double>(given.substr(0, digits));
    if (factor == units.end() || !number) return std::nullopt;
    const double bytes = *number * factor->second;
    if (bytes >= 0x1p53 || (factor->second == 1 && bytes != std::floor(bytes))) return std::nullopt;
    return std::uint64_t(bytes);
}

}  // namespace tvmap
