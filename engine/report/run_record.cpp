#include "engine/report/run_record.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>

#include "engine/evaluation/statistics.h"
#include "engine/files/decimal.h"
#include "engine/model/checkpoint.h"
#include "engine/training/metrics_file.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

std::map<std::string, SummaryRow> summary_of(const CsvTable& table) {
    std::map<std::string, SummaryRow> rows;
    for (std::size_t r = 0; r < table.rows(); ++r) {
        SummaryRow& row = rows[table.at(r, "quantity")];
        row.mean = csv_value(table.at(r, "mean"));
        row.deviation = csv_value(table.at(r, "deviation"));
        row.low = parse_decimal<double>(table.at(r, "low"));
        row.high = parse_decimal<double>(table.at(r, "high"));
    }
    return rows;
}

/// What stands between two texts of a line; "" where one is missing.
std::string between(const std::string& line, const std::string& before, const std::string& behind) {
    const std::size_t start = line.find(before);
    if (start == line.npos) return "";
    const std::size_t from = start + before.size(),
                      end = behind.empty() ? line.size() : line.find(behind, from);
    return end == line.npos ? "" : line.substr(from, end - from);
}

void read_log(const std::string& path, TrainingRecord& training) {
    if (!fs::is_regular_file(path)) return;
    const std::string log = read_file(path);
    for (std::size_t from = 0; from < log.size();) {
        const std::size_t end = std::min(log.find('\n', from), log.size());
        const std::string line = log.substr(from, end - from);
        from = end + 1;
        for (const char* kind : {"started at ", "resumed at ", "interrupted at ", "finished after ",
                                 "stopped early, ", "changed "})
            if (line.starts_with(kind)) training.log.push_back(line);
        if (!line.starts_with("started at ") || !training.device.empty()) continue;
        training.device = between(line, " on ", "; ");
        training.parameters = between(line, "; ", " parameters");
    }
}

/// The start of what a checkpoint knows of its training images: "200 images of 256x256, …".
std::string images_of(const std::string& run) {
    for (const char* name : {"best", "last"}) {
        const std::string checkpoint = run + "/checkpoints/" + name + ".safetensors";
        if (!fs::is_regular_file(checkpoint) || !stored_config(checkpoint)) continue;
        const std::string images = read_progress(checkpoint).train_images;
        return images.substr(0, std::min(images.find(' '), images.size()));
    }
    return "";
}

std::optional<TrainingRecord> read_training(const std::string& run) {
    const std::vector<MetricsFile::Row> rows = MetricsFile::rows(run);
    if (rows.empty()) return std::nullopt;
    TrainingRecord training;
    training.config = read_config(run + "/config.yaml");
    training.epochs = rows.back().epoch;
    training.steps = rows.back().steps;
    for (const MetricsFile::Row& row : rows) training.seconds += row.seconds;
    if (const MetricsFile::Row* best = MetricsFile::best_row(rows)) {
        if (best->validated) training.best_psnr = best->psnr;
        training.best_epoch = best->epoch;
    }
    read_log(run + "/log.txt", training);
    training.images = images_of(run);
    if (const std::string best = run + "/checkpoints/best.safetensors"; fs::is_regular_file(best))
        training.best_steps = stored_steps(best).value_or(0);
    return training;
}

/// Gains of the images that means are taken over: those of which every PSNR is a finite number.
void judge(RunRecord& record) {
    std::vector<double> gains;
    for (std::size_t r = 0; r < record.images.rows(); ++r) {
        const auto value = [&](const char* column) { return csv_value(record.images.at(r, column)); };
        const double scalar = value("scalar_psnr"), map = value("map_psnr"), gain = value("gain_psnr");
        if (!std::isfinite(value("noisy_psnr")) || !std::isfinite(scalar) || !std::isfinite(map)) continue;
        gains.push_back(gain);
        record.won += gain > 0;
    }
    record.counted = int(gains.size());
    record.p = sign_flip_p(gains);
}

}  // namespace

std::string RunRecord::fact(const std::string& key) const {
    const auto found = made_by.find(key);
    return found == made_by.end() ? "" : found->second;
}

const SummaryRow& RunRecord::of(const std::string& quantity) const {
    const auto found = summary.find(quantity);
    if (found == summary.end()) fail(path("summary.csv"), ": there is no row ", quantity, "; evaluate again");
    return found->second;
}

std::vector<std::string> RunRecord::examples(std::size_t most) const {
    std::vector<std::string> names;
    // Behind those that this evaluation made, there may be some of an earlier one.
    const std::size_t made = parse_decimal<std::uint64_t>(fact("pictures")).value_or(images.rows());
    for (std::size_t r = 0; r < std::min(made, images.rows()) && names.size() < most; ++r) {
        const std::string& image = images.at(r, "name");
        if (image.find('/') == image.npos && fs::is_regular_file(path("images/" + image + "_clean.png")))
            names.push_back(image);
    }
    return names;
}

RunRecord read_run(const std::string& folder) {
    if (!fs::is_directory(folder)) fail(folder, ": there is no such folder; name a run's");
    const bool is_evaluation = fs::is_regular_file(folder + "/summary.csv");
    RunRecord record;
    record.evaluation = is_evaluation ? folder : folder + "/evaluation";
    if (!fs::is_regular_file(record.path("summary.csv")))
        fail(folder, ": has not been evaluated; run first: tvmap evaluate ", folder);
    const fs::path whole = fs::absolute(folder).lexically_normal();
    record.name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
    record.config = read_config(record.path("config.yaml"));
    record.yaml = read_file(record.path("config.yaml"));
    record.images = CsvTable(record.path("per_image.csv"));
    record.summary = summary_of(CsvTable(record.path("summary.csv")));
    if (const std::string file = record.path("provenance.csv"); fs::is_regular_file(file)) {
        const CsvTable table(file);
        for (std::size_t r = 0; r < table.rows(); ++r)
            record.made_by[table.at(r, "name")] = table.at(r, "value");
    }
    const std::string run = is_evaluation ? record.fact("run") : folder;
    if (!run.empty() && fs::is_directory(run)) record.training = read_training(run);
    judge(record);
    return record;
}

}  // namespace tvmap
