// Files that are written whole or not at all, or grow at their end.
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

/// Where write_file writes: `path`, or the file that it links to. Throws Error where there is no way to
/// write, as for the path of a folder, a device or a pipe, and for a name too long.
std::string write_place(const std::string& path);

/// Removes the temporary files that a killed process left in a folder which no other process writes to.
void remove_temporaries(const std::string& folder);

/// The whole file, of at most so many bytes. Throws Error.
std::string read_file(const std::string& path, std::uint64_t most = std::uint64_t(-1));

/// Copies a file to a new name beside it (NAME.1.ENDING, or the next number that is free) and gives that
/// name. Throws Error.
std::string keep_copy(const std::string& path);

/// A file that grows at its end, made if need be. One thread appends; another may sync at the same time.
class GrowingFile {
  public:
    /// Throws Error.
    explicit GrowingFile(const std::string& path);
    ~GrowingFile();
    GrowingFile(const GrowingFile&) = delete;
    GrowingFile& operator=(const GrowingFile&) = delete;

    /// Writes `content`, and nothing else, behind what is there. Throws Error; the file then ends where it
    /// ended before.
    void append(std::string_view content);

    /// From here on, what was appended survives a power cut. Throws Error.
    void sync();

  private:
    std::string path_;
    int descriptor_;
};

/// Creates a folder and its parents and proves that files can be written in it. Throws Error.
void make_folder(const std::string& path);

}  // namespace tvmap
