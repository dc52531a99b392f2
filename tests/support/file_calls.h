// What a program asks of the system about files, in order: stand-ins for write, fsync, fdatasync and rename that do the
// same and take notes. To be included by one source of a program; its definitions take the place of the C library's.
#pragma once
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

struct FileCall {
    std::string call, path;  ///< write, sync, rename; of a renamed file its old path
    std::string to;          ///< its new one
    std::size_t bytes = 0;   ///< written
};

/// Notes the calls of its lifetime on files below `folder` (and on the folder itself). One at a time.
class FileCalls {
  public:
    /// The process ends, as if it were killed, before it renames the file number `last` (from 0).
    explicit FileCalls(const std::filesystem::path& folder, int last = -1)
        : folder_(std::filesystem::canonical(folder)), renames_left_(last) {
        current = this;
    }
    ~FileCalls() { current = nullptr; }
    FileCalls(const FileCalls&) = delete;
    FileCalls& operator=(const FileCalls&) = delete;

    std::vector<FileCall> noted() const {
        const std::lock_guard lock(mutex_);
        return calls_;
    }
    void note(FileCall call) {
        if (!call.path.starts_with(folder_.string())) return;
        const std::lock_guard lock(mutex_);
        if (call.call == "rename" && renames_left_-- == 0) ::_exit(0);
        calls_.push_back(std::move(call));
    }

    static inline std::atomic<FileCalls*> current{nullptr};

  private:
    std::filesystem::path folder_;
    int renames_left_;
    mutable std::mutex mutex_;
    std::vector<FileCall> calls_;
};

namespace file_calls {

inline void note(const char* call, int descriptor, std::size_t bytes) {
    FileCalls* const calls = FileCalls::current;
    if (!calls) return;
    std::error_code error;
    const auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor), error);
    if (!error) calls->note({call, path.string(), "", bytes});
}

}  // namespace file_calls

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t count) {
    const ssize_t written = ::syscall(SYS_write, descriptor, bytes, count);
    if (written > 0) file_calls::note("write", descriptor, std::size_t(written));
    return written;
}

int fsync(int descriptor) {
    file_calls::note("sync", descriptor, 0);
    return int(::syscall(SYS_fsync, descriptor));
}

int fdatasync(int descriptor) {
    file_calls::note("sync", descriptor, 0);
    return int(::syscall(SYS_fdatasync, descriptor));
}

int rename(const char* from, const char* to) noexcept {
    if (FileCalls* const calls = FileCalls::current) calls->note({"rename", from, to, 0});
    return ::renameat(AT_FDCWD, from, AT_FDCWD, to);
}
}
