#include "engine/queue/piece_record.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/files/checksum.h"
#include "engine/files/decimal.h"
#include "engine/files/file.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

using Json = nlohmann::ordered_json;

const char* const file_name = "/pieces.json";

/// As text, since JSON has no infinity.
std::string figure(double value) { return shortest_decimal(value); }

double figure(const std::string& text) {
    double value = 0;
    const char* const end = text.data() + text.size();
    if (const auto [rest, error] = std::from_chars(text.data(), end, value);
        error != std::errc() || rest != end)
        throw std::runtime_error("'" + text + "' is no number");
    return value;
}

std::string checksum_of(const std::string& content) { return text(checksum<crc32_polynomial>(content)); }

/// Whether `checksum` is one of those that `list` names.
bool names(const std::string& list, const std::string& checksum) {
    return (" " + list + " ").find(" " + checksum + " ") != std::string::npos;
}

/// The first line in which two texts differ.
std::pair<std::string, std::string> difference(const std::string& then, const std::string& now) {
    std::istringstream one(then), two(now);
    std::string a, b;
    do {
        if (!std::getline(one, a)) a.clear();
        if (!std::getline(two, b)) b.clear();
    } while (a == b && (one || two));
    return {a, b};
}

}  // namespace

PieceRecord::PieceRecord(const std::string& folder, bool resume, const RecordOwner& owner)
    : folder_(folder), owner_(owner) {
    namespace fs = std::filesystem;
    const std::string path = folder + file_name;
    const bool exists = fs::exists(path);
    if (!exists && fs::exists(folder + "/" + owner.table))
        fail(folder, ": holds a ", owner.name,
             " without the pieces to go on from; choose another folder with ", owner.option);
    if (exists && !resume)
        fail(folder, ": holds a ", owner.name,
             " already; go on with it by --resume, or choose another folder with ", owner.option);
    if (!exists) return;
    const std::string content = read_file(path);
    try {
        const Json json = Json::parse(content);
        if (const std::string of = json.value("of", owner.name); of != owner.name)
            throw std::runtime_error("but of a " + of);
        json.at("depends_on").get_to(dependencies_);
        json.at("written").get_to(written_);
        for (const auto& [name, piece] : json.at("pieces").items())
            for (const auto& [key, value] : piece.items())
                pieces_[name][key] = figure(value.get<std::string>());
    } catch (const std::exception& e) {
        fail(path, ": these are not the pieces of a ", owner.name, " (", e.what(),
             "); choose another folder with ", owner.option);
    }
}

void PieceRecord::depends_on(const std::string& what, const std::string& value) {
    const auto [known, fresh] = dependencies_.emplace(what, value);
    if (fresh || known->second == value) return;
    const auto [then, now] = difference(known->second, value);
    fail(folder_, ": this ", owner_.name, " was begun with another ", what, " ('", then, "', not '", now,
         "'): resume it with the same, or choose another folder with ", owner_.option);
}

void PieceRecord::write(const std::vector<std::pair<std::string, std::string>>& files) {
    std::vector<NewFile> together;
    std::map<std::string, std::string> finished = written_;
    for (const auto& [file, content] : files) {
        const std::string path = folder_ + "/" + file;
        const std::string there = std::filesystem::exists(path) ? read_file(path) : "";
        const std::string before = checksum_of(there), after = checksum_of(content);
        if (!there.empty() && there != content && !names(written_[file], before))
            notes_.push_back(text(path, ": not as it was written; the file as it was: ", keep_copy(path)));
        together.push_back({path, {content}});
        written_[file] = before + " " + after;
        finished[file] = after;
    }
    save();  // until all are written, either is this study's
    write_files(together);
    written_ = finished;
    save();
}

void PieceRecord::save() const {
    Json json{{"of", owner_.name},
              {"depends_on", dependencies_},
              {"written", written_},
              {"pieces", Json::object()}};
    for (const auto& [name, piece] : pieces_) {
        Json figures = Json::object();
        for (const auto& [key, value] : piece) figures[key] = figure(value);
        json["pieces"][name] = figures;
    }
    write_file(folder_ + file_name, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace tvmap
