// Formats that are read by libraries which not every machine has are parts of their own, libtvmap_tiff.so and
// libtvmap_dicom.so: built where the library is found, and opened when the first such file comes, from lib/ beside the
// program (whose RPATH names it). So the program neither needs nor loads what it does not use. For
// engine/pictures/picture_parts.cpp, which opens them, and NAME_part.cpp.
#pragma once
#include <string>

#include "engine/pictures/picture_formats.h"

namespace tvmap {

/// What a part shows, through `extern "C" const PicturePart* tvmap_picture_part()`.
struct PicturePart {
    const char* interface;         ///< a hash of the headers that part and program must agree on
    std::string (*description)();  ///< its library and version
    Picture (*read)(Bytes content, PictureAllowance& memory, const std::string& path);
    std::string (*encode)(const std::string& path, const Picture& picture);  ///< null where it only reads
};

/// The part for `path`. Throws Error, which opens with the path, where there is none.
const PicturePart& tiff_part(const std::string& path);
const PicturePart& dicom_part(const std::string& path);

}  // namespace tvmap
