// The last step of kernels/amx/tile_products.cpp. Private to kernels/amx/.
#pragma once
#include "kernels/amx/tile_kernels.h"

namespace tvmap::cpu::amx {

/// From the sums of `count` positions of the task's rows from `first` on, [32][32] floats: bias and leaky ReLU, or added
/// to what is there; rounded; written where the positions are pixels.
void store_results(const RowsTask& task, const Plane& plane, std::int64_t first, int count, const float* sums,
                   bool plain);

}  // namespace tvmap::cpu::amx
