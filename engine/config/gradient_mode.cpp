#include "engine/config/gradient_mode.h"

#include <charconv>

namespace tvmap {
namespace {

using Kind = GradientMode::Kind;

constexpr std::pair<Kind, const char*> words[] = {{Kind::masks, "masks"},
                                                  {Kind::checkpoint, "checkpoint"},
                                                  {Kind::stored, "stored"},
                                                  {Kind::implicit, "implicit"}};
const std::string truncated = "truncated:";

}  // namespace

std::string GradientMode::name() const {
    for (const auto& [word_kind, word] : words)
        if (word_kind == kind) return word;
    return truncated + std::to_string(steps);
}

bool GradientMode::exact(int iterations) const {
    return kind != Kind::implicit && (kind != Kind::truncated || steps == iterations);
}

std::string GradientMode::refusal(int iterations) const {
    if (kind != Kind::truncated || (steps >= 1 && steps <= iterations)) return "";
    return name() + " counts more steps than there are iterations, " + std::to_string(iterations) +
           "; give that or fewer";
}

std::optional<GradientMode> gradient_mode(const std::string& name) {
    GradientMode mode;
    for (const auto& [kind, word] : words)
        if (name == word) {
            mode.kind = kind;
            return mode;
        }
    if (!name.starts_with(truncated)) return std::nullopt;
    mode.kind = Kind::truncated;
    const char *first = name.data() + truncated.size(), *last = name.data() + name.size();
    const auto [end, error] = std::from_chars(first, last, mode.steps);
    if (error != std::errc() || end != last || mode.steps < 1) return std::nullopt;
    return mode;
}

}  // namespace tvmap
