// The mean of several arrays, such as the gradients of the parts of a batch.
#pragma once
#include <cstdint>

namespace tvmap::cpu {

/// Element by element, array 0 becomes the mean of `arrays` arrays of `count` floats, array k from first + k·stride on.
/// Added up in the order of the arrays, then multiplied by 1/arrays. On the calling thread.
void average(std::int64_t count, int arrays, std::int64_t stride, float* first);

}  // namespace tvmap::cpu
