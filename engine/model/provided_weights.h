// Trained networks that come with the program, each by a name. A file says in its metadata what it is for and how it was
// made: tvmap.about, tvmap.command, tvmap.result and tvmap.data, besides the configuration that every checkpoint holds.
#pragma once
#include <string>
#include <vector>

namespace tvmap {

struct ProvidedWeights {
    std::string name, path;
    std::string about;  ///< one line: what they denoise
};

/// The weights for pictures of any kind.
inline constexpr char usual_weights[] = "photo_separate";

/// All that are found, in the order of their names: the .safetensors of the folder that the environment's TVMAP_WEIGHTS
/// names, or else of configs/weights beside the program or above it, or of ../share/tvmap/weights. Files that cannot be
/// read are among them, with the reason for `about`.
std::vector<ProvidedWeights> provided_weights();

/// The file that a user means: one that exists by this path, else weights that come with the program, by this name. Throws
/// Error with the names that there are.
std::string weights_file(const std::string& name_or_path);

}  // namespace tvmap
