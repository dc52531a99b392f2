// The finished pieces of long work (a study, a queue of trainings), so that one that was left goes on where it
// stopped: what each piece measured, by its name, in FOLDER/pieces.json, with what all of them depend on.
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
using Figures = std::map<std::string, double>;

/// A figure as a number of its type. Throws Error where the piece has no such figure.
template <class Number>
Number figure_of(const Figures& piece, const std::string& name) {
    const auto found = piece.find(name);
    // Whole numbers that a double holds exactly, and an int.
    const double limit = std::is_floating_point_v<Number>
                             ? std::numeric_limits<double>::infinity()
                             : std::min(0x1p53, double(std::numeric_limits<Number>::max()));
    if (found == piece.end() || found->second > limit ||
        (!std::is_floating_point_v<Number> && !(found->second >= 0)))
        fail("a piece has no figure '", name, "' that can be; choose another folder");
    return Number(found->second);
}

/// Whose pieces they are, for messages.
struct RecordOwner {
    const char* name;    ///< "study"
    const char* option;  ///< that chooses another folder
    const char* table;   ///< a file of results that no folder holds without pieces
};

/// Not for several threads at once.
class PieceRecord {
  public:
    /// Reads what the folder holds. Without `resume` it must hold no pieces yet. Throws Error; nothing is changed.
    PieceRecord(const std::string& folder, bool resume, const RecordOwner& owner);

    /// Says that all pieces depend on this (settings, images, a device), by lines. Throws Error where the pieces that
    /// there are came about with another: they are of another work.
    void depends_on(const std::string& what, const std::string& value);

    bool has(const std::string& name) const { return pieces_.count(name) > 0; }

    /// The row with the figures of the finished piece `name`; nothing where there is none.
    /// visit_figures(row, visit) calls visit(name, figure) for each figure. Throws Error.
    template <class Row>
    std::optional<Row> find(const std::string& name, Row row = {}) const {
        const auto found = pieces_.find(name);
        if (found == pieces_.end()) return std::nullopt;
        visit_figures(row, [&](const char* key, auto& figure) {
            figure = figure_of<std::remove_reference_t<decltype(figure)>>(found->second, key);
        });
        return row;
    }

    /// From here on the piece `name` is finished, with these figures, whatever happens. Throws Error.
    template <class Row>
    void keep(const std::string& name, Row row) {
        Figures figures;
        visit_figures(row, [&](const char* key, const auto& figure) { figures[key] = double(figure); });
        pieces_[name] = figures;
        save();
    }

    /// The row of the finished piece; where there is none, with the figures that `measure` gives it, which are kept.
    /// Nothing if `measure` returns false: it was stopped.
    template <class Row, class Measure>
    std::optional<Row> piece(const std::string& name, Row row, const Measure& measure) {
        if (const auto finished = find(name, row)) return finished;
        if (!measure(row)) return std::nullopt;
        keep(name, row);
        return row;
    }

    /// Writes files of results (name and content) into the folder, in the place of what this work wrote there before.
    /// What was changed meanwhile stands in a copy beside it, which a line of notes() names. Throws Error.
    void write(const std::vector<std::pair<std::string, std::string>>& files);
    const std::vector<std::string>& notes() const { return notes_; }

  private:
    void save() const;

    std::string folder_;
    RecordOwner owner_;
    std::map<std::string, Figures> pieces_;
    std::map<std::string, std::string> dependencies_;
    std::map<std::string, std::string> written_;  // by file, checksums: what was written, or is being
    std::vector<std::string> notes_;
};

}  // namespace tvmap
