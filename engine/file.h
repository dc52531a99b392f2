// Files that are written whole or not at all.
#pragma once
#include <string>
#include <string_view>

namespace tvmap {

/// Writes to a temporary name beside `path`, syncs, renames. Throws Error (path and reason); nothing
/// half-written stays.
void write_file(const std::string& path, std::string_view content);

/// The whole file. Throws Error.
std::string read_file(const std::string& path);

/// Creates a folder and its parents and proves that files can be written in it. Throws Error.
void make_folder(const std::string& path);

}  // namespace tvmap
