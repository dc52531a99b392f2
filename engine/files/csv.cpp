#include "engine/files/csv.h"

#include <algorithm>

namespace tvmap {
namespace {

char separator_of(std::string_view content) {
    const std::string_view first = content.substr(0, content.find_first_of("\r\n"));
    const auto frequency = [&](char c) { return std::count(first.begin(), first.end(), c); };
    return std::max({',', ';', '\t'}, [&](char a, char b) { return frequency(a) < frequency(b); });
}

}  // namespace

std::vector<CsvRecord> parse_csv(std::string_view content) {
    if (content.starts_with("\xef\xbb\xbf")) content.remove_prefix(3);
    const char separator = separator_of(content);
    std::vector<CsvRecord> records;
    CsvRecord record{1, {""}};
    int line = 1;
    bool quoted = false;
    const auto end_record = [&] {
        const auto empty = [](const std::string& field) { return field.empty(); };
        if (!std::all_of(record.fields.begin(), record.fields.end(), empty)) records.push_back(record);
        record = {line, {""}};
    };
    for (std::size_t i = 0; i < content.size(); ++i) {
        const char c = content[i], next = i + 1 < content.size() ? content[i + 1] : '\0';
        const bool line_end = c == '\n' || (c == '\r' && next != '\n');
        line += line_end;
        if (c == '"' && quoted && next == '"') {
            record.fields.back() += content[++i];
        } else if (c == '"') {
            quoted = !quoted;
        } else if (quoted) {
            record.fields.back() += c;
        } else if (line_end) {
            end_record();
        } else if (c == separator) {
            record.fields.emplace_back();
        } else if (c != '\r') {
            record.fields.back() += c;
        }
    }
    end_record();
    return records;
}

}  // namespace tvmap
