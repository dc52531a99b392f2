#include "engine/files/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

std::string this_process() {
    char host[256] = "";
    if (::gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') return text("process ", ::getpid());
    return text("process ", ::getpid(), " on ", host);
}

/// What the holder has written: one line, or nothing if it has only just begun.
std::string holder(int file) {
    char line[512];
    const ssize_t count = ::pread(file, line, sizeof line, 0);
    const std::string content(line, std::size_t(std::max<ssize_t>(count, 0)));
    const std::string first = content.substr(0, content.find('\n'));
    return first.empty() ? "another process" : first;
}

/// Whether `path` still names the open file: a holder that ends takes the name away before it lets go.
bool is_named(int file, const std::string& path) {
    struct stat mine {
    }, named{};
    return ::fstat(file, &mine) == 0 && ::stat(path.c_str(), &named) == 0 && mine.st_dev == named.st_dev &&
           mine.st_ino == named.st_ino;
}

}  // namespace

FolderLock::FolderLock(const std::string& folder) : path_(folder + "/.tvmap-lock") {
    while (true) {
        file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file_ < 0)
            fail("cannot write ", path_, ": ", std::generic_category().message(errno),
                 "; choose a folder that you may write in");
        int result;
        do {
            result = ::flock(file_, LOCK_EX | LOCK_NB);
        } while (result != 0 && errno == EINTR);
        if (result != 0 && errno == EWOULDBLOCK) {
            const std::string who = holder(file_);
            ::close(file_);
            fail(folder, ": ", who,
                 " is at work in this folder; wait until it ends, or choose another folder");
        }
        if (result != 0 || is_named(file_, path_)) break;  // without locks there is nobody to wait for
        ::close(file_);
    }
    const std::string line = this_process() + "\n";
    // A full disk costs others the name, not the lock.
    if (::ftruncate(file_, 0) == 0) static_cast<void>(::pwrite(file_, line.data(), line.size(), 0) < 0);
}

FolderLock::~FolderLock() {
    if (is_named(file_, path_)) ::unlink(path_.c_str());
    ::close(file_);
}

}  // namespace tvmap
