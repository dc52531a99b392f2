// The algorithms that measurement chose, by problem. Stored with a run, so that a resumed run computes the
// same bits, and per machine, so that new runs need not measure again.
#pragma once
#include <map>
#include <string>

namespace tvmap {

class Algorithms {
  public:
    /// Reads the machine's cache ($XDG_CACHE_HOME/tvmap or ~/.cache/tvmap; a missing or broken one counts as
    /// empty).
    static Algorithms of_machine();
    /// Reads a file that save() wrote. Throws Error.
    static Algorithms read(const std::string& path);

    /// What was chosen for a problem, "" if it was never met. A choice counts as in use from here on.
    std::string find(const std::string& problem);
    void store(const std::string& problem, const std::string& choice);

    /// Writes the choices in use to a run's file. Throws Error.
    void save(const std::string& path) const;
    /// Adds the choices to the machine's cache; silently does nothing where there is no place for one.
    void save_for_machine() const;

  private:
    std::map<std::string, std::string> known_, used_;
};

}  // namespace tvmap
