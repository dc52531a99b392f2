#pragma once
#include <cstdint>

namespace tvmap {

/// Bytes that reading pictures may take unless told otherwise; see PictureReader.
inline constexpr std::uint64_t usual_picture_limit = std::uint64_t(1) << 30;

}  // namespace tvmap
