// The safetensors format: an 8-byte little-endian header length, a JSON header, then raw little-endian
// tensors without gaps.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace tvmap {

struct StoredTensor {
    std::vector<std::int64_t> shape;
    std::vector<float> values;  ///< F32 in the file; F64, F16 and BF16 are converted when read
};

/// A tensor that is to be written, where its values stand.
struct TensorView {
    std::vector<std::int64_t> shape;
    const float* values = nullptr;
    std::size_t count = 0;  ///< of values
};

struct SafeTensors {
    std::map<std::string, StoredTensor> tensors;
    std::map<std::string, std::string> metadata;
};

/// Throws Error for a file that is not whole: short, offsets that do not fit the shapes or the file, overlaps
/// or gaps, broken JSON; and for types other than the four.
SafeTensors read_safetensors(const std::string& path);

/// Written through write_file: temporary name, synced, renamed. The first tensor starts at a multiple of 64
/// bytes, and the others follow without gaps, as the format demands.
void write_safetensors(const std::string& path, const SafeTensors& content);
/// The same without a copy of the values.
void write_safetensors(const std::string& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace tvmap
