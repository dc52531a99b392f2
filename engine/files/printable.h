// Texts from outside, such as the names of files, as what can stand in a page or a figure.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace tvmap {

/// How many bytes the UTF-8 character at the start of a text takes; 0 where none begins there (Unicode 15, table 3-7: no
/// surrogate, nothing longer than it need be).
inline std::size_t character_bytes(std::string_view text) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? (unsigned char)text[i] : 0u; };
    const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
    const unsigned first = byte(0), second = byte(1);
    if (text.empty()) return 0;
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first < 0xe0) return follows(1) ? 2 : 0;
    if (first >= 0xe0 && first < 0xf0) {
        const bool allowed = !(first == 0xe0 && second < 0xa0) && !(first == 0xed && second >= 0xa0);
        return allowed && follows(1) && follows(2) ? 3 : 0;
    }
    if (first >= 0xf0 && first < 0xf5) {
        const bool allowed = !(first == 0xf0 && second < 0x90) && !(first == 0xf4 && second >= 0x90);
        return allowed && follows(1) && follows(2) && follows(3) ? 4 : 0;
    }
    return 0;
}

/// Valid UTF-8 without control characters: the replacement character stands for each of them but the tab and the line's
/// end, and for each byte that is no character.
inline std::string printable(std::string_view text) {
    std::string result;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t bytes = character_bytes(text.substr(i));
        const unsigned char c = (unsigned char)text[i];
        const bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        if (bytes == 0 || control)
            result += "\xef\xbf\xbd";
        else
            result += text.substr(i, bytes);
        i += bytes ? bytes : 1;
    }
    return result;
}

}  // namespace tvmap
