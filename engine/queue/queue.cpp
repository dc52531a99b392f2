#include "engine/queue/queue.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <utility>

#include "engine/config/agreement.h"
#include "engine/config/solver_problem.h"
#include "engine/data/image_list.h"
#include "engine/evaluation/evaluation_files.h"
#include "engine/files/checksum.h"
#include "engine/files/csv_table.h"
#include "engine/files/file.h"
#include "engine/queue/folds.h"
#include "engine/queue/queue_tables.h"
#include "kernels/base/error.h"

namespace tvmap {

namespace fs = std::filesystem;

/// What is kept of a finished training.
struct QueuedTraining {
    std::uint32_t settings = 0;  ///< see settings_of
    double best_psnr = 0;        ///< of validation, where it is known; else Progress().best_psnr
    int best_epoch = 0;          ///< 0: never validated
    std::int64_t steps = 0;
};
template <class Visit>
void visit_figures(QueuedTraining& row, const Visit& visit) {
    visit("settings", row.settings);
    visit("best_psnr", row.best_psnr);
    visit("best_epoch", row.best_epoch);
    visit("steps", row.steps);
}

/// What is kept of a finished test: its results are in the run's folder.
struct QueuedTest {
    std::uint32_t settings = 0, images = 0;  ///< see settings_of; checksum of per_image.csv
};
template <class Visit>
void visit_figures(QueuedTest& row, const Visit& visit) {
    visit("settings", row.settings);
    visit("images", row.images);
}

/// One element of the sweep.
struct Queue::Point {
    SweptConfig swept;
    Division division;  ///< without folds, empty
};

namespace {

constexpr RecordOwner owner{"queue of runs", "--run", "pieces.csv"};

std::string training_of(const QueuedRun& run) { return "training of " + run.name; }
std::string test_of(const QueuedRun& run) { return "test of " + run.name; }

/// A checksum of all that a run's results depend on, but its images. (Those of a fold follow from the division.)
std::uint32_t settings_of(const QueuedRun& run) {
    Config config = run.config;
    if (run.fold > 0) config.data.test.clear();
    std::string settings;
    for (const Difference& d : differences(Config{}, config)) settings += describe(d) + "\n";
    return checksum<crc32_polynomial>(settings);
}

std::string joined(const std::string& folder, const std::string& name) {
    return folder.empty() || name.empty() ? folder + name : folder + "/" + name;
}

std::string evaluation_in(const std::string& folder) { return folder + "/evaluation"; }

std::uint32_t checksum_of_images(const std::string& run_folder) {
    const std::string file = evaluation_in(run_folder) + "/per_image.csv";
    return fs::is_regular_file(file) ? checksum<crc32_polynomial>(read_file(file)) : 0;
}

/// The pictures of a data folder: each one's name and checksum.
std::string pictures_of(const std::string& data, int limit, const std::string& key) {
    std::string list;
    for (const ListedImage& image : list_images(data, limit, key + ": "))
        list += text(image.name, " ", checksum<crc32_polynomial>(read_file(image.path)), "\n");
    return list;
}

bool is_evaluated(const std::string& folder) {
    return fs::is_regular_file(evaluation_in(folder) + "/summary.csv");
}

}  // namespace

bool is_queue(const Sweep& sweep) { return !sweep.keys.empty() || sweep.configs[0].config.data.folds > 0; }

Queue::Queue(const Sweep& sweep, const std::string& folder, bool resume)
    : folder_(folder), record_(folder, resume, owner), keys_(sweep.keys) {
    if (!fs::exists(folder + "/pieces.json") && fs::exists(folder + "/config.yaml"))
        fail(folder, ": holds a run; choose another folder for the queue with --run");
    std::map<std::pair<std::string, int>, std::string> known;  // most points have the same
    const auto depend_on_pictures = [&](const std::string& key, const std::string& of_point,
                                        const std::string& data, int limit) {
        const auto [pictures, fresh] = known.emplace(std::pair(data, limit), "");
        if (fresh) pictures->second = pictures_of(data, limit, key);
        record_.depends_on("picture in " + key + of_point, pictures->second);
    };
    for (const SweptConfig& swept : sweep.configs) {
        const std::size_t place = points_.size();
        const auto add = [&](const std::string& name, const Config& config, int fold) {
            runs_.push_back({joined(swept.name, name), config, place, fold});
            const fs::path path = folder_of(runs_.back());
            runs_.back().config.output = {path.parent_path().string(), path.filename().string()};
        };
        Point& point = points_.emplace_back(Point{swept, {}});
        const std::string of_point = swept.name.empty() ? "" : " for " + swept.name;
        if (swept.config.data.folds > 0) {
            point.division = divide(swept.config);
            record_.depends_on("division of data.train" + of_point, point.division.description);
        }
        const DataConfig& data = swept.config.data;
        depend_on_pictures("data.train", of_point, data.train, data.limit.train);
        if (!data.val.empty()) depend_on_pictures("data.val", of_point, data.val, data.limit.val);
        if (swept.config.data.folds == 0) {
            add("", swept.config, 0);
            continue;
        }
        for (int fold = 0; fold < swept.config.data.folds; ++fold) {
            const std::string name = text("fold-", fold + 1);
            add(name,
                fold_config(swept.config, point.division, fold, folder + "/" + joined(swept.name, name)),
                fold + 1);
        }
    }
    if (resume) return;
    for (const QueuedRun& run : runs_)
        if (fs::exists(folder_of(run) + "/config.yaml"))
            fail(folder_of(run),
                 ": holds a run already; go on with it by --resume, or choose another folder with --run");
}

Queue::~Queue() = default;

void Queue::begin() {
    make_folder(folder_);
    lock_ = std::make_unique<FolderLock>(folder_);
    remove_temporaries(folder_);
    save();  // and with it what the pieces depend on
}

bool Queue::trained(const QueuedRun& run) const {
    const auto known = record_.find<QueuedTraining>(training_of(run));
    return known && known->settings == settings_of(run) &&
           fs::is_regular_file(folder_of(run) + "/checkpoints/last.safetensors");
}

bool Queue::tested(const QueuedRun& run) const {
    if (run.fold == 0) return true;
    const auto known = record_.find<QueuedTest>(test_of(run));
    return known && trained(run) && known->settings == settings_of(run) &&
           known->images == checksum_of_images(folder_of(run));
}

void Queue::prepare(const QueuedRun& run) const {
    if (run.fold > 0) write_lists(points_[run.point].division, run.fold - 1, folder_of(run));
}

void Queue::keep_trained(const QueuedRun& run, const Progress& reached) {
    record_.keep(training_of(run),
                 QueuedTraining{settings_of(run), reached.best_psnr, reached.best_epoch, reached.steps});
    if (run.fold == 0) save();
}

void Queue::keep_tested(const QueuedRun& run) {
    record_.keep(test_of(run), QueuedTest{settings_of(run), checksum_of_images(folder_of(run))});
    save();
}

std::vector<EvaluatedImage> Queue::images_of(const QueuedRun& run) const {
    if (run.fold == 0 || !tested(run)) return {};
    const Division& division = points_[run.point].division;
    const std::vector<int>& listed = division.folds[std::size_t(run.fold - 1)].test;
    std::vector<EvaluatedImage> images = read_evaluated_images(evaluation_in(folder_of(run)));
    if (images.size() != listed.size())
        fail(evaluation_in(folder_of(run)), ": holds ", images.size(), " images where the fold tests ",
             listed.size(), "; remove it, and go on with --resume");
    for (std::size_t i = 0; i < images.size(); ++i)  // a list of one class alone calls them without it
        images[i].name = division.images[std::size_t(listed[i])].name;
    return images;
}

/// In the order of data.train; nothing where a fold is missing.
std::optional<std::vector<EvaluatedImage>> Queue::all_images(std::size_t point) const {
    const Division& division = points_[point].division;
    std::vector<EvaluatedImage> all(division.images.size());
    for (const QueuedRun& run : runs_) {
        if (run.point != point) continue;
        if (run.fold == 0 || !tested(run)) return std::nullopt;
        const std::vector<EvaluatedImage> images = images_of(run);
        const std::vector<int>& listed = division.folds[std::size_t(run.fold - 1)].test;
        for (std::size_t i = 0; i < images.size(); ++i) all[std::size_t(listed[i])] = images[i];
    }
    return all;
}

Queue::Tables Queue::tables() const {
    Tables tables;
    std::vector<PieceLine> lines;
    for (const QueuedRun& run : runs_) {
        PieceLine& line = lines.emplace_back();
        line.values = points_[run.point].swept.values;
        line.run = run.name;
        line.fold = run.fold;
        if (const auto known = record_.find<QueuedTraining>(training_of(run)); known && trained(run)) {
            if (known->best_epoch > 0) line.best_epoch = known->best_epoch;
            if (known->best_psnr > Progress().best_psnr) line.best_psnr = known->best_psnr;
            line.steps = double(known->steps);
        }
        line.images = images_of(run);
    }
    tables.pieces = piece_table(keys_, lines);
    std::vector<FoldsLine> folds;
    for (std::size_t point = 0; point < points_.size(); ++point)
        if (const SweptConfig& swept = points_[point].swept; swept.config.data.folds > 0)
            folds.push_back({swept.values, all_images(point).value_or(std::vector<EvaluatedImage>())});
    tables.folds = folds_table(keys_, folds);
    tables.markdown = tables.pieces.markdown();
    if (!folds.empty())
        tables.markdown += "\n" + tables.folds.markdown() + "\n" + about_folds(folds.size() > 1);
    return tables;
}

void Queue::save() {
    const Tables now = tables();
    std::vector<std::pair<std::string, std::string>> files{{"pieces.csv", now.pieces.csv()},
                                                           {"table.md", now.markdown}};
    if (!now.folds.empty()) files.emplace_back("folds.csv", now.folds.csv());
    record_.write(files);
}

std::string Queue::finish(const Provenance& made_by) {
    save();
    std::string missing_figures;
    for (std::size_t point = 0; point < points_.size(); ++point) {
        const auto images = all_images(point);
        if (!images || images->empty()) continue;
        const SweptConfig& swept = points_[point].swept;
        const std::string folder = evaluation_in(swept.name.empty() ? folder_ : folder_ + "/" + swept.name);
        Evaluation evaluation;
        evaluation.method = method_name(swept.config);
        evaluation.weighs_squares = weighs_squares(swept.config.solver.observation);
        evaluation.made_by = made_by;
        evaluation.images = *images;
        evaluation.config = swept.config.to_yaml();
        evaluation.asked = int(images->size());
        make_folder(folder);
        if (const std::string missing = write_evaluation(folder, evaluation); !missing.empty())
            missing_figures = missing;
    }
    return missing_figures;
}

std::optional<std::vector<std::string>> evaluated_folders(const std::string& folder) {
    const std::string file = folder + "/pieces.csv";
    if (!fs::is_regular_file(file)) return std::nullopt;
    const CsvTable table(file);
    std::vector<std::string> evaluated;
    std::string commands;
    const auto add = [&](const std::string& candidate) {
        if (is_evaluated(candidate) &&
            std::find(evaluated.begin(), evaluated.end(), candidate) == evaluated.end())
            evaluated.push_back(candidate);
    };
    for (std::size_t r = 0; r < table.rows(); ++r) {
        const std::string run = folder + "/" + table.at(r, "run");
        const bool is_fold = !table.at(r, "fold").empty();
        const std::string whole = fs::path(run).parent_path().string();
        if (is_fold) add(whole);
        if (!is_fold || fs::equivalent(whole, folder)) add(run);
        if (!is_fold) commands += (commands.empty() ? "" : "; ") + ("tvmap evaluate " + run);
    }
    if (evaluated.empty())
        fail(folder, ": holds a queue of ", table.rows(), " runs, and nothing to report yet: ",
             commands.empty() ? "its folds are not finished; go on with tvmap train … --resume"
                              : "evaluate them first: " + commands);
    return evaluated;
}

}  // namespace tvmap
