#include "engine/model/provided_weights.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "engine/files/safetensors.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

constexpr char ending[] = ".safetensors";

/// The first of the folders that is there, or "".
fs::path weights_folder() {
    if (const char* named = std::getenv("TVMAP_WEIGHTS"); named && *named) return named;
    std::error_code unreadable;
    const fs::path program = fs::read_symlink("/proc/self/exe", unreadable).parent_path();
    for (const char* place : {"configs/weights", "../configs/weights", "../share/tvmap/weights"}) {
        std::error_code ignored;
        if (fs::is_directory(program / place, ignored)) return (program / place).lexically_normal();
    }
    return {};
}

std::string about(const std::string& path) {
    try {
        const SafeTensors file = read_safetensors(path);
        const auto found = file.metadata.find("tvmap.about");
        return found == file.metadata.end() ? "says nothing of itself" : found->second;
    } catch (const Error& e) {
        return e.what();
    }
}

/// Their names and paths, without looking into them.
std::vector<ProvidedWeights> listed() {
    std::vector<ProvidedWeights> all;
    std::error_code unreadable;
    for (const fs::directory_entry& entry : fs::directory_iterator(weights_folder(), unreadable))
        if (entry.path().extension() == ending)
            all.push_back({entry.path().stem().string(), entry.path().string(), ""});
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return all;
}

}  // namespace

std::vector<ProvidedWeights> provided_weights() {
    std::vector<ProvidedWeights> all = listed();
    for (ProvidedWeights& weights : all) weights.about = about(weights.path);
    return all;
}

std::string weights_file(const std::string& name_or_path) {
    std::error_code ignored;
    if (fs::exists(name_or_path, ignored)) return name_or_path;
    std::string names;
    for (const ProvidedWeights& weights : listed()) {
        if (weights.name == name_or_path) return weights.path;
        names += (names.empty() ? "" : ", ") + weights.name;
    }
    if (names.empty())
        fail(name_or_path,
             ": no such file, and no weights come with this program (TVMAP_WEIGHTS may name their folder)");
    fail(name_or_path, ": no such file, and not the name of weights that come with the program: ", names);
}

}  // namespace tvmap
