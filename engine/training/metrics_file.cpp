#include "engine/training/metrics_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "engine/files/csv.h"
#include "engine/files/decimal.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

using Row = MetricsFile::Row;

const std::array<std::string, 8> columns{"epoch",    "steps",    "loss",           "rate",
                                         "val_psnr", "val_ssim", "val_noisy_psnr", "seconds"};
/// Behind the others, in files of trainings without clean images.
const std::string sure_column = "val_sure";

std::string header(bool estimates) {
    std::string line;
    for (const std::string& column : columns) line += (line.empty() ? "" : ",") + column;
    return line + (estimates ? "," + sure_column : "") + "\n";
}

std::string fixed(double value, int decimals) {
    char digits[400];  // the largest double has 309 of them before its point
    return {digits,
            std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed, decimals).ptr};
}

std::string line_of(const Row& row, bool estimates) {
    const std::string validation =
        row.validated ? fixed(row.psnr, 6) + "," + fixed(row.ssim, 6) + "," + fixed(row.noisy_psnr, 6) : ",,";
    const std::string sure = estimates ? "," + (row.sure ? rounded_decimal(*row.sure, 9) : "") : "";
    return text(row.epoch, ",", row.steps, ",", rounded_decimal(row.loss, 9), ",",
                rounded_decimal(row.rate, 9), ",", validation, ",", fixed(row.seconds, 3), sure, "\n");
}

/// All of a field as a number, written with a decimal point or comma.
template <class Number>
bool read(std::string field, Number& number) {
    if constexpr (std::is_floating_point_v<Number>) {
        if (field.find('.') == std::string::npos) std::replace(field.begin(), field.end(), ',', '.');
        const std::string size = field.substr(field.starts_with('-'));  // what a figure was that was none
        if (size == "inf" || size == "nan") {
            number = size == "inf" ? std::numeric_limits<Number>::infinity()
                                   : std::numeric_limits<Number>::quiet_NaN();
            number = field == size ? number : -number;
            return true;
        }
    }
    const std::optional<Number> given = parse_decimal<Number>(field);
    number = given.value_or(0);
    return given.has_value();
}

/// Where each column stands in a file, and how many columns it has.
struct Layout {
    std::array<std::size_t, columns.size()> place{0, 1, 2, 3, 4, 5, 6, 7};
    std::size_t width = columns.size();
    std::optional<std::size_t> sure;
};

/// By the header; a file without one is taken to be in our order.
Layout layout_of(const CsvRecord& first) {
    Layout layout;
    layout.width = std::max(first.fields.size(), layout.width);
    for (std::size_t c = 0; c < columns.size(); ++c) {
        const auto at = std::find(first.fields.begin(), first.fields.end(), columns[c]);
        if (at == first.fields.end()) return {};
        layout.place[c] = std::size_t(at - first.fields.begin());
    }
    if (const auto at = std::find(first.fields.begin(), first.fields.end(), sure_column);
        at != first.fields.end())
        layout.sure = std::size_t(at - first.fields.begin());
    return layout;
}

std::optional<Row> row_of(const CsvRecord& record, const Layout& layout) {
    const auto field_at = [&](std::size_t at) { return at < record.fields.size() ? record.fields[at] : ""; };
    const auto field = [&](std::size_t column) { return field_at(layout.place[column]); };
    // Behind the columns there may be remarks, but no figures: these are of another row, whose line's start was lost.
    for (std::size_t at = layout.width; at < record.fields.size(); ++at)
        if (double figure; read(record.fields[at], figure)) return std::nullopt;
    Row row;
    row.validated = !field(4).empty();
    const bool whole = read(field(0), row.epoch) && read(field(1), row.steps) && read(field(2), row.loss) &&
                       read(field(3), row.rate) && read(field(7), row.seconds) && row.epoch > 0;
    const bool judged = !row.validated || (read(field(4), row.psnr) && read(field(5), row.ssim) &&
                                           read(field(6), row.noisy_psnr));
    bool estimated = true;
    if (layout.sure && !field_at(*layout.sure).empty())
        estimated = read(field_at(*layout.sure), row.sure.emplace());
    return whole && judged && estimated ? std::optional(row) : std::nullopt;
}

std::string path_in(const std::string& folder) { return folder + "/metrics.csv"; }
std::string content_of(const std::string& path) {
    return std::filesystem::exists(path) ? read_file(path) : "";
}

/// What metrics.csv holds.
struct Contents {
    std::map<int, Row> rows;  ///< by epoch; of several rows of one epoch, the first
    std::vector<int> odd;     ///< lines that are neither a row nor the header
};

Contents read_contents(const std::string& file) {
    Contents contents;
    const std::vector<CsvRecord> records = parse_csv(file);
    if (records.empty()) return contents;
    const Layout layout = layout_of(records.front());
    for (const CsvRecord& record : records) {
        const bool titles = &record == &records.front() && record.fields[layout.place[0]] == columns[0];
        if (titles) continue;
        const std::optional<Row> row = row_of(record, layout);
        if (!row || !contents.rows.emplace(row->epoch, *row).second) contents.odd.push_back(record.line);
    }
    return contents;
}

std::string written(const std::map<int, Row>& rows, bool estimates) {
    std::string file = header(estimates);
    for (const auto& [epoch, row] : rows) file += line_of(row, estimates);
    return file;
}

/// Whether the rows after `start` may be those of a process that died before it wrote another checkpoint.
bool died_after(const std::map<int, Row>& rows, const MetricsFile::Start& start) {
    const auto first = rows.upper_bound(start.epoch);
    const auto later = std::distance(first, rows.end());
    if (later <= start.unsaved) return true;
    double seconds = 0;
    std::for_each(first, std::next(first, later - start.unsaved),
                  [&](const auto& entry) { seconds += entry.second.seconds; });
    return seconds < start.unsaved_seconds;
}

std::string listed(const std::vector<int>& lines) {
    std::string list;
    for (std::size_t i = 0; i < lines.size() && i < 5; ++i) list += text(i ? ", " : "", lines[i]);
    return list + (lines.size() > 5 ? ", …" : "");
}

}  // namespace

MetricsFile::MetricsFile(const std::string& folder, const Start& start)
    : estimates_(start.estimates), events_(folder, start.steps + 1) {
    const std::string path = path_in(folder), found = content_of(path);
    Contents contents = read_contents(found);
    std::map<int, Row>& rows = contents.rows;
    const bool ours = found.empty() || found == written(rows, estimates_);
    const std::size_t all = rows.size();
    const bool explained = died_after(rows, start);
    rows.erase(rows.upper_bound(start.epoch), rows.end());
    const std::size_t cut = all - rows.size();
    for (const auto& [epoch, row] : rows) seconds_ += row.seconds;

    if (!ours || !explained) {
        note_ = text(path, ": ", ours ? "" : "not as it was written; ", rows.size(), " rows are kept");
        if (cut) note_ += text(", ", cut, " after epoch ", start.epoch, " will be computed again");
        if (!contents.odd.empty())
            note_ += text(", line", contents.odd.size() > 1 ? "s " : " ", listed(contents.odd),
                          contents.odd.size() > 1 ? " are no rows" : " is no row", " (or an epoch's second)");
        note_ += "; the file as it was: " + keep_copy(path);
    }
    if (const std::string kept = written(rows, estimates_); kept != found) write_file(path, kept);
    csv_ = std::make_unique<GrowingFile>(path);
}

std::vector<Row> MetricsFile::rows(const std::string& folder) {
    std::vector<Row> rows;
    for (const auto& [epoch, row] : read_contents(content_of(path_in(folder))).rows) rows.push_back(row);
    return rows;
}

std::optional<Row> MetricsFile::last_row(const std::string& folder) {
    const std::vector<Row> all = rows(folder);
    return all.empty() ? std::nullopt : std::optional(all.back());
}

const Row* MetricsFile::best_row(const std::vector<Row>& rows) {
    const Row* best = nullptr;
    for (const Row& row : rows) {
        if (row.sure ? !best || !best->sure || *row.sure < *best->sure
                     : row.validated && std::isfinite(row.psnr) &&
                           (!best || (!best->sure && row.psnr > best->psnr)))
            best = &row;
    }
    return best;
}

void MetricsFile::append(const Row& row) {
    csv_->append(line_of(row, estimates_));
    seconds_ += row.seconds;
    std::vector<Scalar> scalars{{"train/loss", float(row.loss)}, {"train/rate", float(row.rate)}};
    if (row.validated) {
        scalars.push_back({"validation/psnr", float(row.psnr)});
        scalars.push_back({"validation/ssim", float(row.ssim)});
    }
    if (row.sure) scalars.push_back({"validation/sure", float(*row.sure)});
    events_.append(row.steps, scalars);
}

}  // namespace tvmap
