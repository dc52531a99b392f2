// The values of an experiment's keys: one reader from YAML and one writer to it for every type. For
// engine/config/config.cpp alone, whose table of keys is made of them.
#pragma once
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/config/config.h"
#include "engine/files/byte_count.h"
#include "engine/files/decimal.h"
#include "engine/files/duration.h"
#include "kernels/base/error.h"

namespace tvmap {

/// The tag of base64, which YAML writes !!binary.
inline const std::string binary_tag = "tag:yaml.org,2002:binary";

/// Whether a member's value is, or can be, a list.
template <class T>
constexpr bool can_be_list = false;
template <class Element>
constexpr bool can_be_list<std::vector<Element>> = true;
template <>
inline constexpr bool can_be_list<Range> = true;

/// What stands behind the = of an override, to the byte: no part of it is YAML. For a key whose value can be
/// a list, [a, b] is one.
inline YAML::Node override_node(const std::string& value, bool list) {
    if (!list || !value.starts_with('[') || !value.ends_with(']')) return YAML::Node(value);
    const auto trimmed = [](const std::string& element) {
        const std::size_t first = std::min(element.find_first_not_of(' '), element.size());
        return element.substr(first, element.find_last_not_of(' ') + 1 - first);
    };
    YAML::Node node(YAML::NodeType::Sequence);
    std::string rest = value.substr(1, value.size() - 2);
    if (trimmed(rest).empty()) return node;
    for (std::size_t comma; (comma = rest.find(',')) != std::string::npos; rest.erase(0, comma + 1))
        node.push_back(trimmed(rest.substr(0, comma)));
    node.push_back(trimmed(rest));
    return node;
}

/// A value as it was given, and where.
struct Given {
    std::string key;    // full path, e.g. solver.tau
    std::string where;  // "file:line" or "--set key=value"
    YAML::Node node;

    Given(std::string key_path, std::string place, const YAML::Node& value)
        : key(std::move(key_path)), where(std::move(place)), node(value) {}
    Given(const Given&) = default;
    // Assigning a YAML::Node changes the node it refers to, for everyone: refer to the other one instead.
    Given& operator=(const Given& other) {
        key = other.key;
        where = other.where;
        node.reset(other.node);
        return *this;
    }

    [[noreturn]] void reject(const std::string& expected) const {
        const bool scalar = node.IsScalar() && !node.Scalar().empty();
        const std::string got = scalar              ? "'" + node.Scalar() + "'"
                                : node.IsSequence() ? "a list"
                                : node.IsMap()      ? "a section"
                                                    : "nothing";
        fail(where, ": ", key, ": got ", got, "; give ", expected);
    }
    Given with(const YAML::Node& other) const { return {key, where, other}; }
};

template <class Number>
Number parse_number(const Given& given, const std::string& expected) {
    // A quoted scalar (tag "!") is text, also where it looks like a number.
    if (!given.node.IsScalar() || given.node.Tag() == "!") given.reject(expected);
    const std::optional<Number> number = parse_decimal<Number>(given.node.Scalar());
    if (!number) given.reject(expected);
    if constexpr (std::is_floating_point_v<Number>)  // what is computed with is fp32
        if (std::isinf(float(*number))) given.reject("a number that 32-bit floating point holds");
    return *number;
}

inline void read(const Given& given, int& value) {
    value = parse_number<int>(given, "a whole number, 2147483647 at most");
}
inline void read(const Given& given, std::uint64_t& value) {
    value = parse_number<std::uint64_t>(given, "a whole number from 0 to 18446744073709551615");
}
inline void read(const Given& given, double& value) {
    value = parse_number<double>(given, "a finite number");
}

inline void read(const Given& given, bool& value) {
    if (!given.node.IsScalar() || (given.node.Scalar() != "true" && given.node.Scalar() != "false"))
        given.reject("true or false");
    value = given.node.Scalar() == "true";
}

inline void read(const Given& given, std::string& value) {
    if (!given.node.IsScalar()) given.reject("a text");
    value = given.node.Scalar();
    if (given.node.Tag() == binary_tag) {
        const std::vector<unsigned char> bytes = YAML::DecodeBase64(value);
        if (bytes.empty()) given.reject("base64 after !!binary");
        value.assign(bytes.begin(), bytes.end());
    }
    if (value.find('\0') != std::string::npos)
        fail(given.where, ": ", given.key,
             ": holds a zero byte, at which names end; give a text without one");
}

inline void read(const Given& given, std::vector<int>& value) {
    if (!given.node.IsSequence()) given.reject("a list of whole numbers, like [32, 64]");
    value.clear();
    for (const auto& element : given.node) read(given.with(element), value.emplace_back());
}

inline void read(const Given& given, std::vector<double>& value) {
    if (!given.node.IsSequence()) given.reject("a list of numbers, like [0.5, 0.75]");
    value.clear();
    for (const auto& element : given.node) read(given.with(element), value.emplace_back());
}

inline void read(const Given& given, std::vector<std::string>& value) {
    if (!given.node.IsSequence()) given.reject("a list of words, like [masks, implicit]");
    value.clear();
    for (const auto& element : given.node) read(given.with(element), value.emplace_back());
}

inline void read_pair(const Given& given, double& first, double& second, const std::string& expected) {
    if (!given.node.IsSequence() || given.node.size() != 2) given.reject(expected);
    first = parse_number<double>(given.with(given.node[0]), expected);
    second = parse_number<double>(given.with(given.node[1]), expected);
}

inline void read(const Given& given, Range& value) {
    if (given.node.IsSequence()) return read_pair(given, value.from, value.to, "a number or [from, to]");
    value.from = value.to = parse_number<double>(given, "a number or [from, to]");
}

inline std::uint64_t parse_bytes(const Given& given) {
    const auto bytes = parse_byte_count(given.node.IsScalar() ? given.node.Scalar() : "");
    if (!bytes) given.reject(byte_count_form);
    return *bytes;
}

inline double parse_duration(const Given& given) {
    const auto seconds = parse_seconds(given.node.IsScalar() ? given.node.Scalar() : "");
    if (!seconds) given.reject(duration_form);
    return *seconds;
}

inline std::string write(int value) { return std::to_string(value); }
inline std::string write(std::uint64_t value) { return std::to_string(value); }
inline std::string write(bool value) { return value ? "true" : "false"; }

inline std::string write(double value) { return shortest_decimal(value); }

/// In quotes, or as !!binary where YAML has no other way to give the same bytes again: what is not UTF-8.
inline std::string write(const std::string& value) {
    YAML::Emitter out;
    out << YAML::DoubleQuoted << value;
    if (YAML::Load(out.c_str()).Scalar() == value) return out.c_str();
    const auto* bytes = reinterpret_cast<const unsigned char*>(value.data());
    return "!!binary \"" + YAML::EncodeBase64(bytes, value.size()) + "\"";
}

template <class Element>
std::string write(const std::vector<Element>& value) {
    std::string list;
    for (const Element& element : value) list += (list.empty() ? "" : ", ") + write(element);
    return "[" + list + "]";
}

inline std::string write(const Range& value) {
    return value.fixed() ? write(value.from) : "[" + write(value.from) + ", " + write(value.to) + "]";
}

}  // namespace tvmap
