// The algorithms that measurement chose, by problem (whose key names the processor, the threads and the
// library too). Stored with a run, so that a resumed run computes the same bits, and per machine, so that new
// runs need not measure again.
#pragma once
#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernels/base/features.h"

namespace tvmap {

/// Not for several threads at once; several processes may share the machine's cache.
class Algorithms {
  public:
    /// Reads the machine's cache ($XDG_CACHE_HOME/tvmap or ~/.cache/tvmap; a missing or broken one counts as
    /// empty).
    static Algorithms of_machine();
    /// Reads a file that save() wrote. Throws Error.
    static Algorithms read(const std::string& path);

    /// What was chosen for a problem, "" if it was never met.
    std::string find(const std::string& problem) const;
    /// The choice counts as in use from here on. One that was `borrowed` from another problem is not for the
    /// machine's cache, which holds what was timed.
    void store(const std::string& problem, const std::string& choice, bool borrowed = false);
    /// Whether a batch that was never timed takes the choices of the next smaller one that was: many batches
    /// can be planned in a moment then, and each always gets the same plan.
    void borrow(bool allowed) { borrows_ = allowed; }
    bool borrows() const { return borrows_; }

    /// Images of height×width that are planned as images of side×side were: tensor by tensor, in the same proportion.
    struct BorrowedSizes {
        int height, width, side;
        /// Whether they are these images, which lend and do not borrow.
        bool lend() const { return height == side && width == side; }
        Features resized(const Features& tensor) const;
    };
    /// From here on plans for images of this size, which it divides evenly, take the choices of side×side ones where
    /// they were not timed themselves, and time those where need be: images of all sizes cost one timing.
    void borrow(const std::optional<BorrowedSizes>& sizes) { borrowed_sizes_ = sizes; }
    const std::optional<BorrowedSizes>& borrowed_sizes() const { return borrowed_sizes_; }

    /// What becomes of a problem that was never timed, nor may borrow: it is timed, or, where nothing is ever
    /// run, planned with the least or the most scratch memory that its algorithms may take.
    enum class Untimed { time, least, most };
    void plan_untimed(Untimed how) { untimed_ = how; }
    Untimed untimed() const { return untimed_; }
    /// Counts a problem that was planned so; to time its algorithms takes `bytes` for a while.
    void count_untimed(const std::string& problem, std::size_t bytes) {
        untimed_problems_.insert(problem);
        timing_bytes_ = std::max(timing_bytes_, bytes);
    }
    void forget_untimed() {
        untimed_problems_.clear();
        timing_bytes_ = 0;
    }
    int untimed_problems() const { return int(untimed_problems_.size()); }
    /// The most of them, since one is timed after the other.
    std::size_t timing_bytes() const { return timing_bytes_; }
    /// What its user should know: a line about a choice that was not taken.
    void note(const std::string& line) { notes_.push_back(line); }
    const std::vector<std::string>& notes() const { return notes_; }
    /// For a choice that does not work, and why. The machine's cache forgets it, so that the algorithm is
    /// chosen anew; a run's file is not to be gone against: throws an Error that names it.
    void drop(const std::string& problem, const std::string& reason);

    /// Writes the choices in use to a run's file, with all those of the file that was read: a run that goes
    /// on with other threads keeps those of before. Throws Error.
    void save(const std::string& path) const;
    /// Adds the choices in use to the machine's cache; silently does nothing where there is no place for one.
    void save_for_machine() const;

  private:
    std::map<std::string, std::string> known_, used_;
    std::set<std::string> borrowed_, untimed_problems_;
    std::vector<std::string> notes_;
    bool borrows_ = false;
    std::optional<BorrowedSizes> borrowed_sizes_;
    Untimed untimed_ = Untimed::time;
    std::size_t timing_bytes_ = 0;
    std::string file_;  // that was read; none for the machine's cache
};

}  // namespace tvmap
