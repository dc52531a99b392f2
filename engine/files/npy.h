// NumPy's .npy files: float32 or float64 in, C order, float32 out.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace tvmap {

struct NpyArray {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
};

/// Throws Error for anything but little-endian float32/float64 in C order, for a truncated file, and for NaN
/// or infinite values.
NpyArray read_npy(const std::string& path);

/// The file of an array, float32 in C order.
std::string encode_npy(const std::vector<std::int64_t>& shape, const float* values);

/// Writes it to a temporary name, synced, then renamed.
void write_npy(const std::string& path, const std::vector<std::int64_t>& shape, const float* values);

}  // namespace tvmap
