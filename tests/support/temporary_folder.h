// An empty folder for one test.
#pragma once
#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

/// Made empty, removed with all it holds when the test ends.
struct TemporaryFolder {
    TemporaryFolder() {
        // In memory where there is room for it: every written file is synced, which a busy disk does slowly.
        const std::filesystem::path memory = "/dev/shm";
        std::error_code error;
        const bool fits = std::filesystem::space(memory, error).available > 64u << 20 && !error;
        std::string name =
            ((fits ? memory : std::filesystem::temp_directory_path()) / "tvmap_test_XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + name);
        path = name;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    std::string operator/(const std::string& name) const { return (path / name).string(); }

    std::filesystem::path path;
};
