#include "engine/report/html.h"

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "engine/files/file.h"
#include "engine/files/printable.h"

namespace tvmap {
namespace {

constexpr std::uintmax_t most_picture_bytes = 4 << 20;

/// RFC 4648, section 4.
std::string base64(std::string_view bytes) {
    constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string result;
    result.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const auto byte = [&](std::size_t k) {
            return i + k < bytes.size() ? std::uint32_t((unsigned char)bytes[i + k]) : 0;
        };
        const std::uint32_t group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (std::size_t k = 0; k < 4; ++k)
            result += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    return result;
}

}  // namespace

std::string html_text(const std::string& content) {
    std::string result;
    for (const char c : printable(content)) switch (c) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '"':
                result += "&quot;";
                break;
            case '\'':
                result += "&#39;";
                break;
            default:
                result += c;
        }
    return result;
}

std::string html_table(const Cells& cells, const std::string& css_class) {
    std::string table = "<div class=\"wide\"><table class=\"" + css_class + "\">\n<thead><tr>";
    for (const std::string& cell : cells[0]) table += "<th scope=\"col\">" + html_text(cell) + "</th>";
    table += "</tr></thead>\n<tbody>\n";
    for (std::size_t row = 1; row < cells.size(); ++row) {
        table += "<tr><th scope=\"row\">" + html_text(cells[row][0]) + "</th>";
        for (std::size_t column = 1; column < cells[row].size(); ++column)
            table += "<td>" + html_text(cells[row][column]) + "</td>";
        table += "</tr>\n";
    }
    return table + "</tbody>\n</table></div>\n";
}

std::string html_picture(const std::string& path, const std::string& alternative) {
    std::error_code error;
    const std::uintmax_t bytes = std::filesystem::file_size(path, error);
    if (error || bytes > most_picture_bytes) return "";
    const char* kind = path.ends_with(".svg") ? "svg+xml" : "png";
    return "<img alt=\"" + html_text(alternative) + "\" src=\"data:image/" + kind + ";base64," +
           base64(read_file(path)) + "\">";
}

}  // namespace tvmap
