// Inputs are read once to check all of them before any work, and once to work on each, so that not all of them are
// held at once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace tvmap {

template <class Input>
class ReadTwice {
  public:
    /// Input number `number`, which `from_files` reads. It is held after the first time where a file of it is no
    /// regular one: a pipe gives its content once.
    template <class Read>
    Input read(std::size_t number, const std::vector<std::string>& files, const Read& from_files) {
        if (const auto held = held_.find(number); held != held_.end()) return held->second;
        Input input = from_files();
        const auto once = [](const std::string& file) { return !std::filesystem::is_regular_file(file); };
        if (std::any_of(files.begin(), files.end(), once)) held_.emplace(number, input);
        return input;
    }

  private:
    std::map<std::size_t, Input> held_;
};

}  // namespace tvmap
