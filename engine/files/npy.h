// NumPy's .npy files: real numbers of any type and order in, float32 in C order out.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tvmap {

struct NpyArray {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
};

/// Reads floats of 16 to 128 bits, integers of 8 to 64 and booleans, of either byte order, in C or Fortran order; the
/// values are rounded to float32. Throws Error for other types, for a truncated file, and for values that are NaN or
/// infinite, or become so.
NpyArray read_npy(const std::string& path);

/// Whether a file's content says that it is one; the same for the content, of which `path` is told in messages.
bool is_npy(std::string_view content);
NpyArray parse_npy(std::string_view content, const std::string& path);

/// The file of an array, float32 in C order.
std::string encode_npy(const std::vector<std::int64_t>& shape, const float* values);

/// Writes it to a temporary name, synced, then renamed.
void write_npy(const std::string& path, const std::vector<std::int64_t>& shape, const float* values);

}  // namespace tvmap
