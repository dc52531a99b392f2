// Files are written whole or not at all, and every failure says which path and why.
#include "engine/files/file.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "tests/support/temporary_folder.h"

namespace fs = std::filesystem;

namespace {

std::ptrdiff_t entries(const TemporaryFolder& folder) {
    return std::distance(fs::directory_iterator(folder.path), fs::directory_iterator());
}

std::string plain_read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::string message(void (*call)(const std::string&), const std::string& path) {
    try {
        call(path);
    } catch (const tvmap::Error& error) {
        return error.what();
    }
    return "no error";
}
void write_x(const std::string& path) { tvmap::write_file(path, "x"); }
void read_only(const std::string& path) { tvmap::read_file(path); }

bool contains(const std::string& whole, const std::string& part) {
    return whole.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a file is written, replaced and read back byte for byte") {
    const TemporaryFolder folder;
    std::string content(300001, '\0');
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = char(i * 37 + i / 251);
    for (const std::string& bytes : {content, std::string(), std::string("a\0b", 3)}) {
        tvmap::write_file(folder / "data.bin", bytes);
        CHECK(plain_read(folder / "data.bin") == bytes);
        CHECK(tvmap::read_file(folder / "data.bin") == bytes);
    }
    CHECK(entries(folder) == 1);
}

TEST_CASE("a file in the working folder needs no slash, a long name no room for a suffix") {
    const TemporaryFolder folder;
    const fs::path before = fs::current_path();
    fs::current_path(folder.path);
    const std::string name(255, 'n');  // NAME_MAX
    tvmap::write_file(name, "long");
    CHECK(tvmap::read_file(name) == "long");
    fs::current_path(before);
}

TEST_CASE("a replaced file keeps its mode, a new one obeys the umask, a link stays a link") {
    const TemporaryFolder folder;
    struct stat status {};
    const mode_t mask = ::umask(027);
    tvmap::write_file(folder / "new", "1");
    ::umask(mask);
    REQUIRE(::stat((folder / "new").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0640);

    REQUIRE(::chmod((folder / "new").c_str(), 0604) == 0);
    fs::create_symlink("new", folder / "link");
    tvmap::write_file(folder / "link", "2");
    CHECK(fs::is_symlink(folder / "link"));
    CHECK(plain_read(folder / "new") == "2");
    REQUIRE(::stat((folder / "new").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0604);
}

TEST_CASE("a write that fails half-way leaves the old file and no temporary") {
    const TemporaryFolder folder;
    tvmap::write_file(folder / "kept", "old");
    // A limit on the size of files makes write(2) come up short, then fail, as a full disk does.
    struct rlimit before {};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small { 1000, before.rlim_max };
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    std::string said = "no error";
    try {
        tvmap::write_file(folder / "kept", std::string(5000, 'n'));
    } catch (const tvmap::Error& error) {
        said = error.what();
    }
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    std::signal(SIGXFSZ, handler);
    CHECK(contains(said, folder / "kept"));
    CHECK(contains(said, "too large"));
    CHECK(plain_read(folder / "kept") == "old");
    CHECK(entries(folder) == 1);
}

TEST_CASE("files that belong together: all of them, or none and what was there before") {
    const TemporaryFolder folder;
    tvmap::write_file(folder / "b", "old");
    tvmap::write_files({{folder / "a", {"new ", "a"}}, {folder / "b", {"new b"}}});
    CHECK(plain_read(folder / "a") == "new a");
    CHECK(plain_read(folder / "b") == "new b");
    // A name too long, a folder that is not there, a folder in the place of a file: wherever it comes in the list.
    fs::create_directory(folder / "taken");
    for (const std::string& bad : {folder / std::string(300, 'x'), folder / "missing/c", folder / "taken"})
        for (const bool last : {false, true}) {
            std::vector<tvmap::NewFile> files{{folder / "b", {"newer"}}, {folder / "c", {"new c"}}};
            files.insert(last ? files.end() : files.begin(), {bad, {"x"}});
            std::string said;
            try {
                tvmap::write_files(files);
            } catch (const tvmap::Error& error) {
                said = error.what();
            }
            CHECK(contains(said, bad));
            CHECK(plain_read(folder / "b") == "new b");
            CHECK(entries(folder) == 3);  // a, b, taken
        }
}

TEST_CASE("a file is read up to a limit, and what does not fit in memory is named") {
    const TemporaryFolder folder;
    tvmap::write_file(folder / "a", "12345");
    CHECK(tvmap::read_file(folder / "a", 5) == "12345");
    CHECK_THROWS_AS(tvmap::read_file(folder / "a", 4), tvmap::Error);
    CHECK_THROWS_AS(tvmap::read_file("/dev/zero", 1 << 20), tvmap::Error);  // it has no size, and no end
    fs::resize_file(folder / "a", std::uintmax_t(1) << 46);                 // 64 TiB that take no room
    CHECK(contains(message(read_only, folder / "a"), "more than fits in memory"));
}

TEST_CASE("targets that cannot be files are refused and left alone") {
    const TemporaryFolder folder;
    CHECK(contains(message(write_x, "/dev/full"), "/dev/full: it is a device"));
    CHECK(fs::is_character_file("/dev/full"));
    CHECK(contains(message(write_x, folder.path.string()), "it is a folder"));
    CHECK(contains(message(write_x, ""), "without a name"));
    CHECK(contains(message(write_x, folder / "missing/file"), "No such file or directory"));
    tvmap::write_file(folder / "file", "x");
    CHECK(contains(message(write_x, folder / "file/below"), "Not a directory"));
    CHECK(contains(message(write_x, "/proc/tvmap"), "/proc/tvmap"));
    CHECK(entries(folder) == 1);
}

TEST_CASE("files that cannot be read are named") {
    const TemporaryFolder folder;
    CHECK(contains(message(read_only, folder / "missing"), (folder / "missing") + ": No such file"));
    CHECK(contains(message(read_only, folder.path.string()), "it is a folder"));
    CHECK(!tvmap::read_file("/proc/self/status").empty());  // a file that claims to have no bytes
}

TEST_CASE("folders are made with their parents and proved writable") {
    const TemporaryFolder folder;
    for (int twice = 0; twice < 2; ++twice) {
        tvmap::make_folder(folder / "a/b/c/");
        CHECK(fs::is_directory(folder / "a/b/c"));
        CHECK(fs::is_empty(folder / "a/b/c"));
    }
    tvmap::write_file(folder / "file", "x");
    CHECK(contains(message(tvmap::make_folder, folder / "file"), folder / "file"));
    CHECK(contains(message(tvmap::make_folder, folder / "file/below"), folder / "file/below"));
    // Where the permission bits would let root write and the file system does not.
    REQUIRE(fs::exists("/proc/self"));
    for (const char* path : {"/proc", "/proc/tvmap"}) {
        CAPTURE(path);
        CHECK(contains(message(tvmap::make_folder, path), path));
    }
}
