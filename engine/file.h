// Files that are written whole or not at all.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tvmap {

/// Writes to a temporary name beside `path`, syncs, renames. Throws Error (path and reason); nothing
/// half-written stays.
void write_file(const std::string& path, std::string_view content);

/// The same for content in pieces, one after the other, so that they need not be joined in memory first.
void write_file(const std::string& path, const std::vector<std::string_view>& pieces);

/// A file to be written, its content in pieces.
struct NewFile {
    std::string path;
    std::vector<std::string_view> pieces;
};

/// Writes files that belong together as write_file does, but none takes its name before all are written and synced:
/// where one cannot be written, none appears.
void write_files(const std::vector<NewFile>& files);

/// Removes the temporary files that a killed process left in a folder which no other process writes to.
void remove_temporaries(const std::string& folder);

/// The whole file, of at most so many bytes. Throws Error.
std::string read_file(const std::string& path, std::uint64_t most = std::uint64_t(-1));

/// Creates a folder and its parents and proves that files can be written in it. Throws Error.
void make_folder(const std::string& path);

}  // namespace tvmap
