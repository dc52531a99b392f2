// The finished pieces of a study, so that one that was left goes on where it stopped: what each piece measured, by its
// name, in FOLDER/pieces.json, with what all of them depend on.
#pragma once
#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/base/error.h"

namespace tvmap {

/// What a piece measured, each figure by its name.
using Piece = std::map<std::string, double>;

/// A figure as a number of its type. Throws Error where the piece has no such figure.
template <class Number>
Number figure_of(const Piece& piece, const std::string& name) {
    const auto found = piece.find(name);
    // Whole numbers that a double holds exactly, and an int.
    const double limit = std::is_floating_point_v<Number>
                             ? std::numeric_limits<double>::infinity()
                             : std::min(0x1p53, double(std::numeric_limits<Number>::max()));
    if (found == piece.end() || found->second > limit ||
        (!std::is_floating_point_v<Number> && !(found->second >= 0)))
        fail("a study's piece has no figure '", name, "' that can be; choose another folder with --out");
    return Number(found->second);
}

/// Not for several threads at once.
class StudyRecord {
  public:
    /// Reads what the folder holds. Without `resume` it must hold no study yet. Throws Error; nothing is changed.
    StudyRecord(const std::string& folder, bool resume);

    /// Says that all pieces depend on this (settings, images, a device), by lines. Throws Error where the pieces that
    /// there are came about with another: they are of another study.
    void depends_on(const std::string& what, const std::string& value);

    bool has(const std::string& name) const { return pieces_.count(name) > 0; }

    /// The row with the figures of the finished piece `name`; where there is none, with those that `measure` gives it,
    /// which are kept at once and survive whatever happens from here on. Nothing if `measure` returns false: it was
    /// stopped. visit_figures(row, visit) calls visit(name, figure) for each figure. Throws Error.
    template <class Row, class Measure>
    std::optional<Row> piece(const std::string& name, Row row, const Measure& measure) {
        if (const auto found = pieces_.find(name); found != pieces_.end()) {
            visit_figures(row, [&](const char* key, auto& figure) {
                figure = figure_of<std::remove_reference_t<decltype(figure)>>(found->second, key);
            });
            return row;
        }
        if (!measure(row)) return std::nullopt;
        Piece figures;
        visit_figures(row, [&](const char* key, const auto& figure) { figures[key] = double(figure); });
        pieces_[name] = figures;
        save();
        return row;
    }

    /// Writes files of results (name and content) into the folder, in the place of what this study wrote there before.
    /// What was changed meanwhile stands in a copy beside it, which a line of notes() names. Throws Error.
    void write(const std::vector<std::pair<std::string, std::string>>& files);
    const std::vector<std::string>& notes() const { return notes_; }

  private:
    void save() const;

    std::string folder_;
    std::map<std::string, Piece> pieces_;
    std::map<std::string, std::string> dependencies_;
    std::map<std::string, std::string> written_;  // by file, checksums: what was written, or is being
    std::vector<std::string> notes_;
};

}  // namespace tvmap
