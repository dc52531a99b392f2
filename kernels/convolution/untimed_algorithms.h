// What stands in place of a convolution's algorithms (kernels/convolution/convolution.h) where it is planned but
// never run: those with the least, or with the most, scratch memory of all that timing would choose from. Nothing is
// timed, run or allocated for them.
#pragma once
#include <string>

namespace tvmap {

inline constexpr char least_memory[] = "least memory", most_memory[] = "most memory";

inline bool are_untimed(const std::string& algorithms) {
    return algorithms == least_memory || algorithms == most_memory;
}

}  // namespace tvmap
