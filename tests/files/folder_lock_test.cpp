// A lock lives as long as its process and keeps everyone else out, also while locks come and go.
#include "engine/files/folder_lock.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <vector>

#include "engine/files/file.h"
#include "kernels/base/error.h"
#include "tests/support/temporary_folder.h"

using tvmap::FolderLock;

namespace {

std::string refusal(const std::string& folder) {
    try {
        const FolderLock lock(folder);
    } catch (const tvmap::Error& error) {
        return error.what();
    }
    return "";
}

bool names(const std::string& message, pid_t process) {
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    return message.find("process " + std::to_string(process) + " on " + host) != std::string::npos &&
           message.find('\n') == std::string::npos;
}

}  // namespace

TEST_CASE("one holder at a time, in one process too; nothing stays") {
    const TemporaryFolder folder;
    const std::string path = folder.path.string();
    auto lock = std::make_unique<FolderLock>(path);
    CHECK(names(refusal(path), ::getpid()));
    CHECK(refusal(path).starts_with(path));
    lock.reset();
    CHECK(refusal(path).empty());
    CHECK(std::filesystem::is_empty(path));
    CHECK(refusal(folder / "missing").find(folder / "missing") != std::string::npos);
}

TEST_CASE("a lock ends with its process, however that ends, and a file alone is none") {
    const TemporaryFolder folder;
    const std::string path = folder.path.string();
    tvmap::write_file(folder / ".tvmap-lock", "process 1 on another-machine\n");
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const FolderLock lock(path);
        if (::write(ready[1], "x", 1) != 1) ::_exit(1);
        while (true) ::pause();
    }
    char byte;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    CHECK(names(refusal(path), child));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    CHECK(std::filesystem::exists(folder / ".tvmap-lock"));
    CHECK(refusal(path).empty());
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST_CASE("while locks come and go, two processes never hold one") {
    const TemporaryFolder folder;
    const std::string path = folder.path.string(), inside = folder / "inside";
    constexpr int processes = 4, rounds = 300;
    std::vector<pid_t> children;
    for (int p = 0; p < processes; ++p) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child > 0) {
            children.push_back(child);
            continue;
        }
        int held = 0;
        for (int round = 0; round < rounds; ++round) try {
                const FolderLock lock(path);
                const int file = ::open(inside.c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (file < 0) ::_exit(1);  // someone else is inside
                ::close(file);
                if (::unlink(inside.c_str()) != 0) ::_exit(1);
                ++held;
            } catch (const tvmap::Error&) {
                ::usleep(50);
            }
        ::_exit(held > 0 ? 0 : 2);
    }
    for (const pid_t child : children) {
        int status = 0;
        ::waitpid(child, &status, 0);
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
}
