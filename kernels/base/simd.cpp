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

/// As people call it.
std::string name_of(std::int64_t target) {
    const std::string name = hwy::TargetName(target);
    return name == "AVX3" ? "AVX-512" : name;
}

std::string plain(std::string name) {
    std::erase(name, '-');
    for (char& c : name)
        if (c >= 'a' && c <= 'z') c = char(c - 'a' + 'A');
    return name;
}

std::string restricted_to;

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const std::int64_t target : targets()) names.push_back(name_of(target));
    return names;
}

void use_instruction_set(const std::string& name) {
    hwy::SetSupportedTargetsForTest(0);
    restricted_to.clear();
    if (name.empty()) return;
    std::string known;
    for (const std::int64_t target : targets()) {
        if (plain(name) == plain(name_of(target))) {
            restricted_to = name_of(target);
            return hwy::SetSupportedTargetsForTest(target);
        }
        known += text(known.empty() ? "" : ", ", name_of(target));
    }
    fail("instruction set ", name, " is not available on this processor; use one of ", known);
}

std::string instruction_set() { return restricted_to.empty() ? instruction_sets().front() : restricted_to; }

}  // namespace tvmap::cpu
