// Kinds of characters, the same in every locale: bytes that are not ASCII are none of them.
#pragma once

namespace tvmap {

constexpr bool is_digit(char c) { return '0' <= c && c <= '9'; }
constexpr bool is_letter(char c) { return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z'); }
constexpr bool is_space(char c) { return c == ' ' || ('\t' <= c && c <= '\r'); }
constexpr char to_lower(char c) { return 'A' <= c && c <= 'Z' ? char(c - 'A' + 'a') : c; }

}  // namespace tvmap
