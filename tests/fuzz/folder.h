// A folder of a fuzzer's own, in memory where the machine has a place for that.
#pragma once
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/fuzz/input.h"

namespace tvmap::fuzz {

/// Empty whenever it is made; removed at its end.
class Folder {
  public:
    explicit Folder(const std::string& name)
        : path_((std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path()) /
                std::filesystem::path("tvmap_fuzz_" + name + "_" + std::to_string(getpid()))) {
        std::filesystem::remove_all(path_);
        std::filesystem::create_directory(path_);
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    std::string path() const { return path_.string(); }

    void write(const std::string& name, const std::string& content) const {
        std::ofstream(path_ / name, std::ios::binary) << content;
    }

    static std::string read(const std::filesystem::path& file) {
        std::ifstream stream(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(stream), {}};
    }

  private:
    std::filesystem::path path_;
};

}  // namespace tvmap::fuzz
