#include "engine/data/image_list.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "engine/files/file.h"
#include "engine/pictures/image.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

constexpr const char* formats = "JPEG, PNG, TIFF, BMP, TGA, PGM, PPM or DICOM files";

/// The paths in a folder that `wanted` holds for, hidden ones left out, in the order of their names.
template <class Wanted>
std::vector<fs::path> entries(const fs::path& folder, const std::string& place, const Wanted& wanted) {
    std::error_code error;
    std::vector<fs::path> found;
    fs::directory_iterator entry(folder, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error))
        if (entry->path().filename().string()[0] != '.' && wanted(*entry)) found.push_back(entry->path());
    if (error)
        fail(place, "cannot list the folder ", folder.string(), ": ", error.message(),
             "; check its permissions");
    std::sort(found.begin(), found.end());
    return found;
}

std::vector<fs::path> pictures_in(const fs::path& folder, const std::string& place) {
    return entries(folder, place, [](const fs::directory_entry& entry) {
        return is_picture_name(entry.path().filename().string());
    });
}

std::vector<fs::path> of_folder(const std::string& folder, const std::string& place) {
    std::vector<fs::path> pictures = pictures_in(folder, place);
    if (!pictures.empty()) return pictures;
    std::vector<std::vector<fs::path>> classes;
    std::size_t most = 0;
    for (const fs::path& below : entries(folder, place, [](const fs::directory_entry& entry) {
             std::error_code unreadable;
             return entry.is_directory(unreadable);
         })) {
        classes.push_back(pictures_in(below, place));
        most = std::max(most, classes.back().size());
    }
    for (std::size_t i = 0; i < most; ++i)
        for (const std::vector<fs::path>& one : classes)
            if (i < one.size()) pictures.push_back(one[i]);
    if (pictures.empty())
        fail(place, "no pictures in ", folder, "; put ", formats, " there, or in folders below it");
    return pictures;
}

std::vector<fs::path> of_list(const std::string& list, const std::string& place) {
    constexpr std::uint64_t most_bytes = 1 << 28;
    if (is_picture_name(list))
        fail(place, list,
             " is not a folder; give a folder of pictures, a list of them (a text) or a pattern");
    const std::string content = read_file(list, most_bytes);
    std::vector<fs::path> pictures;
    int number = 0;
    for (std::size_t begin = 0; begin < content.size();) {
        const std::size_t end = std::min(content.find('\n', begin), content.size());
        std::string line = content.substr(begin, end - begin);
        if (line.ends_with('\r')) line.pop_back();
        begin = end + 1;
        ++number;
        if (line.empty()) continue;
        if (line.find('\0') != line.npos)
            fail(place, list, ", line ", number, ": no text; give a list of paths, one a line");
        pictures.push_back(fs::path(list).parent_path() / line);
        std::error_code unreadable;
        if (!fs::exists(pictures.back(), unreadable))
            fail(place, list, ", line ", number, ": ", pictures.back().string(),
                 " does not exist; correct its path, which begins at the list's folder");
    }
    if (pictures.empty()) fail(place, list, ": no pictures are listed; write one path a line");
    return pictures;
}

std::vector<fs::path> of_pattern(const std::string& pattern, const std::string& place) {
    glob_t matches{};
    const int outcome = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &matches);
    std::vector<fs::path> pictures;
    for (std::size_t i = 0; outcome == 0 && i < matches.gl_pathc; ++i)
        if (const std::string path = matches.gl_pathv[i]; is_picture_name(path) || path.ends_with(".npy"))
            pictures.emplace_back(path);
    ::globfree(&matches);
    if (outcome != 0 && outcome != GLOB_NOMATCH)
        fail(place, "cannot read all that ", pattern, " may match; check the permissions of its folders");
    if (pictures.empty())
        fail(place, "the pattern ", pattern, " matches no pictures; correct it, or give a folder of ",
             formats);
    std::sort(pictures.begin(), pictures.end());
    return pictures;
}

std::vector<fs::path> paths_of(const std::string& given, const std::string& place) {
    std::error_code unreadable;
    if (given.empty()) fail(place, "no image folder is given; name a folder of pictures");
    if (fs::is_directory(given, unreadable)) return of_folder(given, place);
    if (fs::exists(given, unreadable)) return of_list(given, place);
    if (given.find_first_of("*?[") != given.npos) return of_pattern(given, place);
    fail(place, "the image folder ", given, " does not exist; correct its path or make it");
}

}  // namespace

std::vector<ListedImage> list_images(const std::string& given, int limit, const std::string& place) {
    std::vector<fs::path> paths = paths_of(given, place);
    std::set<fs::path> folders;
    for (const fs::path& path : paths) folders.insert(path.parent_path());
    paths.resize(std::min(paths.size(), std::size_t(limit)));
    std::vector<ListedImage> images;
    std::map<std::string, std::string> taken;
    for (const fs::path& path : paths) {
        const std::string folder = folders.size() > 1 ? path.parent_path().filename().string() + "_" : "",
                          name = folder + path.stem().string();
        const auto shown = [&](const fs::path& p) {
            return folders.size() > 1 ? p.string() : p.filename().string();
        };
        if (const auto [other, fresh] = taken.emplace(name, shown(path)); !fresh)
            fail(place, given, " holds ", other->second, " and ", shown(path),
                 ", whose results would share one name; rename one of them");
        images.push_back({path.string(), name});
    }
    return images;
}

}  // namespace tvmap
