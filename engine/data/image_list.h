// Which pictures a setting like data.train names.
#pragma once
#include <string>
#include <vector>

namespace tvmap {

/// A picture of a data set, and what its results are called.
struct ListedImage {
    std::string path, name;
};

/// The first `limit` pictures of what `given` names:
///     a folder    its pictures in the order of their names; where it holds none itself, those of its folders (classes),
///                 a picture of each in turn, so that a limit takes as many of each
///     a file      a list: one path a line, relative to the list's own folder, in the list's order
///     a pattern   with * ? […]: the pictures, and .npy arrays, that it matches, in the order of their paths
/// Hidden files are passed over: some systems leave "._NAME.png" beside a picture. A picture is called by its file's name
/// without the ending; where pictures lie in several folders, with the folder's in front: CLASS_NAME. `place` opens
/// messages. Throws Error where there are no pictures, and for two of one name.
std::vector<ListedImage> list_images(const std::string& given, int limit, const std::string& place);

}  // namespace tvmap
