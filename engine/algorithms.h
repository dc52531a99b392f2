// The algorithms that measurement chose, by problem (whose key names the processor, the threads and the
// library too). Stored with a run, so that a resumed run computes the same bits, and per machine, so that new
// runs need not measure again.
#pragma once
#include <map>
#include <set>
#include <string>

namespace tvmap {

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
    std::set<std::string> borrowed_;
    bool borrows_ = false;
    std::string file_;  // that was read; none for the machine's cache
};

}  // namespace tvmap
