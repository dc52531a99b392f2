// The values of a search.
#pragma once
#include <vector>

#include "kernels/base/error.h"

namespace tvmap {

/// No search has more values.
inline constexpr int most_values = 1'000'000;

/// `count` values from `from` to `to`, both included; `from` alone for a count of 1. Throws Error for fewer than one or
/// more than most_values.
inline std::vector<double> equally_spaced(double from, double to, int count) {
    if (count < 1 || count > most_values) fail("search: ", count, " values; give 1 to ", most_values);
    std::vector<double> values(count, from);
    for (int i = 1; i < count; ++i) values[i] = from + (to - from) * i / (count - 1);
    return values;
}

}  // namespace tvmap
