// Numbers as texts have them: decimal, with a point, without grouping, whatever locale the program has set.
#pragma once
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace tvmap {

/// The number that the whole text is: digits (010 is ten), one sign in front perhaps and, for a floating
/// type, a point and an exponent. Nothing for any other text, for infinities and NaN, and where the type
/// cannot hold it.
template <class Number>
std::optional<Number> parse_decimal(std::string_view given) {
    if (given.starts_with('+')) {
        given.remove_prefix(1);
        if (given.starts_with('-')) return std::nullopt;
    }
    Number number{};
    const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), number);
    if (error != std::errc() || end != given.data() + given.size()) return std::nullopt;
    if constexpr (std::is_floating_point_v<Number>)
        if (!std::isfinite(number)) return std::nullopt;
    return number;
}

/// The same, for what is computed with in 32-bit floating point: nothing beyond its greatest number either.
inline std::optional<double> parse_float32(std::string_view given) {
    const std::optional<double> number = parse_decimal<double>(given);
    return number && std::isinf(float(*number)) ? std::nullopt : number;
}

/// The shortest digits that parse_decimal reads as the same number again.
inline std::string shortest_decimal(double value) {
    char digits[32];
    return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

/// At most `digits` significant digits (1 to 40), as printf's %g gives them.
inline std::string rounded_decimal(double value, int digits) {
    char line[64];
    return {line, std::to_chars(line, line + sizeof line, value, std::chars_format::general, digits).ptr};
}

}  // namespace tvmap
