#include <dlfcn.h>

#include <cstring>

#include "engine/pictures/picture_part.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

struct OpenedPart {
    const PicturePart* part = nullptr;
    std::string problem;  ///< why there is none
};

OpenedPart open_part(const char* file, const char* packages) {
    void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);  // stays open as long as the program
    if (library == nullptr) {
        const char* const why = dlerror();
        return {nullptr, text("not to be had (", why ? why : "no reason given", "): build with ", packages,
                              " installed")};
    }
    const auto entry = reinterpret_cast<const PicturePart* (*)()>(dlsym(library, "tvmap_picture_part"));
    if (entry == nullptr) return {nullptr, text(file, " is no part of tvmap")};
    if (std::strcmp(entry()->interface, TVMAP_PICTURES) != 0)
        return {nullptr, text(file, " and the program are of different versions: build both together")};
    return {entry(), ""};
}

const OpenedPart& tiff() {
    static const OpenedPart opened = open_part("libtvmap_tiff.so", "libtiff-dev");
    return opened;
}
const OpenedPart& dicom() {
    static const OpenedPart opened = open_part("libtvmap_dicom.so", "libdcmtk-dev");
    return opened;
}

const PicturePart& part_for(const std::string& path, const char* format, const OpenedPart& opened) {
    if (opened.part == nullptr)
        fail(path, ": ", format, " is ", opened.problem, ", or give a PNG or .npy file");
    return *opened.part;
}

std::string status(const OpenedPart& opened) {
    return opened.part ? opened.part->description() : opened.problem;
}

}  // namespace

const PicturePart& tiff_part(const std::string& path) { return part_for(path, "TIFF", tiff()); }
const PicturePart& dicom_part(const std::string& path) { return part_for(path, "DICOM", dicom()); }

std::string tiff_status() { return status(tiff()); }
std::string dicom_status() { return status(dicom()); }

void check_tiff_can_be_written(const std::string& path) { tiff_part(path); }

std::string encode_tiff(const std::string& path, const Picture& picture) {
    return tiff_part(path).encode(path, picture);
}

}  // namespace tvmap
