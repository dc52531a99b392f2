#include "kernels/base/simd.h"

#include <hwy/highway.h>

#include "kernels/base/error.h"

namespace tvmap::cpu {
namespace {

/// Every processor runs the baseline; Highway leaves it out of SupportedTargets() on some.
std::vector<std::int64_t> targets() {
    std::vector<std::int64_t> found;
    const std::int64_t available = (hwy::SupportedTargets() | HWY_STATIC_TARGET) & HWY_TARGETS;
    for (std::int64_t rest = available; rest != 0; rest &= rest - 1) found.push_back(rest & -rest);
    return found;
}

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const std::int64_t target : targets()) names.emplace_back(hwy::TargetName(target));
    return names;
}

void use_instruction_set(const std::string& name) {
    hwy::SetSupportedTargetsForTest(0);
    if (name.empty()) return;
    std::string known;
    for (const std::int64_t target : targets()) {
        if (name == hwy::TargetName(target)) return hwy::SetSupportedTargetsForTest(target);
        known += text(known.empty() ? "" : ", ", hwy::TargetName(target));
    }
    fail("instruction set ", name, " is not available on this processor; use one of ", known);
}

}  // namespace tvmap::cpu
