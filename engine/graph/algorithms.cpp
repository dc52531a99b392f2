#include "engine/graph/algorithms.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/files/file.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

std::string machine_folder() {
    if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
        return std::string(cache) + "/tvmap";
    if (const char* home = std::getenv("HOME"); home && *home) return std::string(home) + "/.cache/tvmap";
    return "";
}

std::map<std::string, std::string> parse(const std::string& content) {
    return nlohmann::json::parse(content).get<std::map<std::string, std::string>>();
}

}  // namespace

Algorithms Algorithms::of_machine() {
    Algorithms result;
    const std::string folder = machine_folder();
    if (folder.empty()) return result;
    try {
        result.known_ = parse(read_file(folder + "/algorithms.json"));
    } catch (const std::exception&) {
        // No cache, or one that is not ours to trust: measuring again is always right.
    }
    return result;
}

Algorithms Algorithms::read(const std::string& path) {
    Algorithms result;
    result.file_ = path;
    const std::string content = read_file(path);
    try {
        result.known_ = parse(content);
    } catch (const nlohmann::json::exception& e) {
        fail(path, ": not a list of algorithms (", e.what(), "); delete it to measure again");
    }
    return result;
}

std::string Algorithms::find(const std::string& problem) const {
    const auto entry = known_.find(problem);
    return entry == known_.end() ? "" : entry->second;
}

void Algorithms::store(const std::string& problem, const std::string& choice, bool borrowed) {
    if (borrowed)
        borrowed_.insert(problem);
    else if (find(problem) != choice)
        borrowed_.erase(problem);
    known_[problem] = choice;
    used_[problem] = choice;
}

Features Algorithms::BorrowedSizes::resized(const Features& tensor) const {
    const auto scaled = [&](int of, int size) { return int(std::int64_t(of) * side / size); };
    Features other = tensor;
    other.h = scaled(tensor.h, height);
    other.w = scaled(tensor.w, width);
    const std::int64_t channels = tensor.image_stride / (std::int64_t(tensor.h) * tensor.w);
    other.image_stride = channels * other.h * other.w;
    return other;
}

void Algorithms::drop(const std::string& problem, const std::string& reason) {
    if (!file_.empty())
        fail(file_, ": a choice of this file does not work here (", reason,
             "); delete the file to measure again: the run goes on, but not with the same bits");
    known_.erase(problem);
}

void Algorithms::save(const std::string& path) const {
    auto all = used_;
    if (!file_.empty()) all.insert(known_.begin(), known_.end());
    write_file(path, nlohmann::json(all).dump(1) + "\n");
}

void Algorithms::save_for_machine() const {
    const std::string folder = machine_folder();
    if (folder.empty()) return;
    try {
        make_folder(folder);
        auto all = of_machine().known_;
        for (const auto& [problem, choice] : used_)
            if (!borrowed_.contains(problem)) all[problem] = choice;
        write_file(folder + "/algorithms.json", nlohmann::json(all).dump(1) + "\n");
    } catch (const std::exception&) {
        // A cache is a convenience.
    }
}

}  // namespace tvmap
