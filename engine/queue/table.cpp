#include "engine/queue/table.h"

#include <algorithm>
#include <cmath>

#include "engine/files/csv.h"
#include "engine/files/format.h"
#include "engine/files/printable.h"

namespace tvmap {
namespace {

constexpr const char* dash = "–";

/// A text as a cell of Markdown.
std::string cell_text(const std::string& content) {
    std::string result;
    for (const char c : printable(content)) {
        if (c == '|') result += '\\';
        result += c == '\n' ? ' ' : c;
    }
    return result;
}

/// Characters, not bytes.
std::size_t width(const std::string& content) {
    return std::size_t(
        std::count_if(content.begin(), content.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string fixed(double value, int decimals, bool sign = false) {
    if (!std::isfinite(value)) return dash;
    return sign ? format("%+.*f", decimals, value) : format("%.*f", decimals, value);
}

}  // namespace

void Table::begin_row() {
    rows_.emplace_back();
    shown_.emplace_back();
}

void Table::add_cell(const std::string& column, double value) {
    rows_.back().push_back({column, std::isnan(value) ? "" : csv_number(value), true, value});
}

void Table::show(const std::string& title, const std::string& content) {
    if (title.empty()) return;
    if (rows_.size() == 1) titles_.push_back(title);
    shown_.back().push_back(cell_text(content));
}

void Table::add_text(const std::string& column, const std::string& title, const std::string& content) {
    rows_.back().push_back({column, content, false, 0});
    show(title, content);
}

void Table::add_number(const std::string& column, const std::string& title, double value, int decimals,
                       bool sign) {
    add_cell(column, value);
    show(title, fixed(value, decimals, sign));
}

void Table::add_statistic(const std::string& column, const std::string& title, const Statistic& statistic,
                          int decimals) {
    add_cell(column, statistic.mean);
    add_cell(column + "_deviation", statistic.deviation);
    show(title, std::isfinite(statistic.mean)
                    ? fixed(statistic.mean, decimals) + " ± " + fixed(statistic.deviation, decimals)
                    : dash);
}

void Table::add_interval(const std::string& column, const std::string& title, const Interval& interval,
                         int decimals) {
    add_cell(column + "_low", interval.low);
    add_cell(column + "_high", interval.high);
    show(title, std::isfinite(interval.low)
                    ? fixed(interval.low, decimals, true) + " … " + fixed(interval.high, decimals, true)
                    : dash);
}

void Table::add_probability(const std::string& column, const std::string& title, double p) {
    add_cell(column, p);
    show(title, std::isfinite(p) ? format("%.2g", p) : dash);
}

std::string Table::csv() const {
    std::string file;
    const auto add_line = [&](const std::vector<Cell>& row, std::string Cell::*part) {
        for (std::size_t i = 0; i < row.size(); ++i) file += (i ? "," : "") + csv_field(row[i].*part);
        file += "\n";
    };
    if (!rows_.empty()) add_line(rows_[0], &Cell::column);
    for (const std::vector<Cell>& row : rows_) add_line(row, &Cell::content);
    return file;
}

std::string Table::markdown() const {
    std::vector<std::size_t> widths;
    for (const std::string& title : titles_) widths.push_back(width(title));
    for (const std::vector<std::string>& row : shown_)
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
    std::string lines;
    const auto add_line = [&](const std::vector<std::string>& cells) {
        lines += "|";
        for (std::size_t i = 0; i < cells.size(); ++i)
            lines += " " + cells[i] + std::string(widths[i] - width(cells[i]), ' ') + " |";
        lines += "\n";
    };
    add_line(titles_);
    lines += "|";
    for (const std::size_t columns : widths) lines += std::string(columns + 2, '-') + "|";
    lines += "\n";
    for (const std::vector<std::string>& row : shown_) add_line(row);
    return lines;
}

}  // namespace tvmap
