// What can be known of files before the work that they are the results of.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace tvmap {

/// A file that will be written by write_file.
struct Output {
    std::string path;
    std::uint64_t bytes = 0;  ///< at least so many
};

/// Asks all that can be known of outputs before they are written: that each has a name of its own, which its
/// file system takes; that what stands there is a file which may be replaced; that all of them together find
/// room; and, by writing, that files can be made in their folders, which are made if need be. Throws Error
/// (path, reason, what to do instead); folders are made only where nothing else is wrong. None of them may be one of
/// `read`, the files that the work reads.
void prepare_outputs(const std::vector<Output>& outputs, const std::vector<std::string>& read = {});

}  // namespace tvmap
