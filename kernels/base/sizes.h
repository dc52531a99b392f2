// Sizes that come of numbers of the user's: a product that is too large is refused, and nothing goes on with what is
// left of it.
#pragma once
#include <cstdint>
#include <string>

#include "kernels/base/error.h"

namespace tvmap {

/// No size is larger: more than any machine's memory, and a hundred of them add up within 64 bits.
constexpr std::int64_t largest_size = std::int64_t(1) << 56;

/// The product of factors that are not negative. Throws Error, which names `what`, where it exceeds largest_size.
template <class... Factors>
std::int64_t checked_product(const char* what, Factors... factors) {
    const std::int64_t all[] = {std::int64_t(factors)...};
    std::int64_t product = 1;
    bool fits = true;
    for (const std::int64_t factor : all)
        fits = fits && !__builtin_mul_overflow(product, factor, &product) && product <= largest_size;
    if (!fits) {
        std::string line;
        for (const std::int64_t factor : all) line += text(line.empty() ? "" : "·", factor);
        fail(what, ": ", line, " is more than any memory holds; give smaller numbers");
    }
    return product;
}

}  // namespace tvmap
