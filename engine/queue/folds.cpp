#include "engine/queue/folds.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "engine/files/file.h"
#include "engine/training/batches.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

/// Where a file lies in truth, so that a link to it counts as the same.
std::string true_path(const std::string& path) {
    std::error_code unknown;
    const fs::path canonical = fs::canonical(path, unknown);
    return unknown ? path : canonical.string();
}

void check_counts(const Config& config, int images) {
    const int folds = config.data.folds;
    if (images < folds)
        fail("data.folds: ", folds, " folds of ", images, " images would leave parts empty; give ", images,
             " or fewer, or more images");
    const int parts = images - (images + folds - 1) / folds;  // all but the largest
    const int validation = config.data.val.empty() ? config.data.limit.val : 0;
    const std::int64_t step = std::int64_t(config.train.batch) * config.train.accumulate;
    if (parts - validation < step)
        fail("data.folds: a fold has ", parts, " images besides those it tests",
             validation ? text(", ", validation,
                               " of them for validation (data.limit.val), since data.val is not given")
                        : "",
             ": fewer than the ", step, " that one step takes (train.batch: ", config.train.batch,
             ", train.accumulate: ", config.train.accumulate, "); give more images");
}

void check_names(const std::vector<ListedImage>& images) {
    for (const ListedImage& image : images)
        if (image.path.find('\n') != std::string::npos || image.path.ends_with('\r'))
            fail("data.folds: ", image.path, " cannot stand in a list of one path a line; rename it");
}

void check_validation(const Config& config, const std::vector<ListedImage>& images) {
    if (config.data.val.empty()) return;
    std::set<std::string> own;
    for (const ListedImage& image : images) own.insert(true_path(image.path));
    for (const ListedImage& image : list_images(config.data.val, config.data.limit.val, "data.val: "))
        if (own.count(true_path(image.path)))
            fail("data.val: ", image.path,
                 " is also in data.train, and tested by a fold whose weights it would choose; give other "
                 "images, or "
                 "none (--set data.val=): then a fold takes them from those that it does not test");
}

std::string list_of(const Division& division, const std::vector<int>& indices) {
    std::string list;
    for (const int index : indices) list += division.images[std::size_t(index)].path + "\n";
    return list;
}

}  // namespace

std::vector<Fold> divide(std::uint64_t seed, int images, int folds, int validation) {
    const std::vector<int> order = shuffled(seed, 0, images);
    std::vector<Fold> all(static_cast<std::size_t>(folds));
    for (int part = 0; part < folds; ++part) {
        Fold& fold = all[std::size_t(part)];
        for (int place = 0; place < images; ++place) {
            const int image = order[std::size_t(place)];
            if (place % folds == part)
                fold.test.push_back(image);
            else if (int(fold.val.size()) < validation)
                fold.val.push_back(image);
            else
                fold.train.push_back(image);
        }
        for (std::vector<int>* list : {&fold.train, &fold.val, &fold.test})
            std::sort(list->begin(), list->end());
    }
    return all;
}

Division divide(const Config& config) {
    const DataConfig& data = config.data;
    Division division;
    division.images = list_images(data.train, data.limit.train, "data.train: ");
    const int images = int(division.images.size());
    check_counts(config, images);
    check_names(division.images);
    check_validation(config, division.images);
    const int validation = data.val.empty() ? data.limit.val : 0;
    division.folds = divide(config.seed, images, data.folds, validation);
    division.description =
        text(data.folds, " folds of ", images, " images by seed ", config.seed, ", ",
             validation ? text(validation, " of each for validation") : "data.val for validation", "\n");
    for (const ListedImage& image : division.images) division.description += image.name + "\n";
    return division;
}

Config fold_config(const Config& config, const Division& division, int fold, const std::string& folder) {
    const Fold& own = division.folds[std::size_t(fold)];
    const auto list = [&](const char* name) {
        return (fs::absolute(folder) / name).lexically_normal().string();
    };
    Config result = config;
    result.seed += std::uint64_t(fold) << 32;
    result.data.folds = 0;
    result.data.train = list("train.txt");
    result.data.test = list("test.txt");
    result.data.limit.train = int(own.train.size());
    result.data.limit.test = int(own.test.size());
    if (!own.val.empty()) result.data.val = list("val.txt");
    return result;
}

void write_lists(const Division& division, int fold, const std::string& folder) {
    const Fold& own = division.folds[std::size_t(fold)];
    const std::string train = list_of(division, own.train), val = list_of(division, own.val),
                      test = list_of(division, own.test);
    make_folder(folder);
    std::vector<NewFile> lists{{folder + "/train.txt", {train}}, {folder + "/test.txt", {test}}};
    if (!own.val.empty()) lists.push_back({folder + "/val.txt", {val}});
    write_files(lists);
}

}  // namespace tvmap
