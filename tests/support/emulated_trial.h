// What the tests of the emulation share.
#pragma once

#include <functional>
#include <string>

#include "kernels/base/error.h"
#include "kernels/gpu/gpu.h"

/// The message of the Error that `work` throws, or "".
inline std::string error(const std::function<void()>& work) {
    try {
        work();
    } catch (const tvmap::Error& e) {
        return e.what();
    }
    return "";
}
inline bool contains(const std::string& all, const std::string& part) {
    return all.find(part) != std::string::npos;
}

/// How many of some seeds (0, the natural order, among them) give the expected result.
inline int right(const std::function<bool()>& as_expected) {
    int count = 0;
    for (unsigned seed = 0; seed < 8; ++seed) {
        tvmap::emulation::set_seed(seed);
        count += as_expected();
    }
    tvmap::emulation::set_seed(1);
    return count;
}
constexpr int every_seed = 8;
