// Atomic writes: content goes to a temporary name in the target's own folder, is synced, and takes the
// target's name by rename(2); then the folder is synced, so that the new name survives a power cut. A reader
// sees the old file or the new one, never a part. A file that grows is opened once and only added to; who
// reads it along may see the last piece of it in part.
#include "engine/files/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) { return std::generic_category().message(error); }

const char* advice(int error) {
    switch (error) {
        case ENOSPC:
        case EDQUOT:
            return "free some space or choose another disk";
        case EACCES:
        case EPERM:
        case EROFS:
            return "choose a folder that you may write in";
        case ENOENT:
        case ENOTDIR:
            return "make its folder first or choose another";
        case ENAMETOOLONG:
            return "choose a shorter name";
        default:
            return "choose another path";
    }
}

[[noreturn]] void cannot_write(const std::string& path, int error) {
    fail("cannot write ", path, ": ", reason(error), "; ", advice(error));
}

[[noreturn]] void too_large(const std::string& path, const std::string& than) {
    fail("cannot read ", path, ": it holds more than ", than, "; give a smaller file");
}

/// An open file descriptor, closed at the end of the scope.
class Descriptor {
  public:
    explicit Descriptor(int number) : number_(number) {}
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return number_; }
    explicit operator bool() const { return number_ >= 0; }

    /// Some file systems report a failed write only here.
    int close() {
        const int result = ::close(number_);
        number_ = -1;
        return result;
    }

  private:
    int number_;
};

/// Writes all of it; the error that prevented it, or 0.
int write_all(int descriptor, std::string_view content) {
    while (!content.empty()) {
        const ssize_t written = ::write(descriptor, content.data(), content.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return written < 0 ? errno : ENOSPC;
        content.remove_prefix(std::size_t(written));
    }
    return 0;
}

/// What cannot be synced (a folder on some file systems, say) answers EINVAL or ENOTSUP.
void sync_to_disk(int descriptor, const std::string& target) {
    if (::fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP) cannot_write(target, errno);
}

/// A new file beside its target that is removed unless it is renamed.
class Temporary {
  public:
    /// Throws Error, naming `target`.
    Temporary(const fs::path& folder, const std::string& target) : target_(target), file_(create(folder)) {}
    ~Temporary() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;

    void keep_mode_of(const struct stat& existing) { ::fchmod(file_.get(), existing.st_mode & 07777); }

    void write(std::string_view content) {
        if (const int error = write_all(file_.get(), content)) cannot_write(target_, error);
    }

    void sync() {
        sync_to_disk(file_.get(), target_);
        if (file_.close() != 0) cannot_write(target_, errno);
    }

    void rename(const fs::path& to) {
        if (::rename(path_.c_str(), to.c_str()) != 0) cannot_write(target_, errno);
        path_.clear();
    }

  private:
    /// The name does not grow with the target's, which may be as long as the file system allows.
    int create(const fs::path& folder) {
        static std::atomic<unsigned> counter{0};
        while (true) {
            path_ = folder / text(".tvmap-", ::getpid(), "-", counter++, ".tmp");
            const int number = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (number >= 0) return number;
            if (errno == EEXIST || errno == EINTR) continue;
            const int error = errno;
            path_.clear();
            cannot_write(target_, error);
        }
    }

    std::string target_;
    fs::path path_;
    Descriptor file_;
};

/// Makes a rename durable.
void sync_folder(const fs::path& folder, const std::string& target) {
    const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (descriptor) sync_to_disk(descriptor.get(), target);  // (a folder may be writable but not readable)
}

/// A file written to a temporary name, and the name that it is to take.
class Written {
  public:
    explicit Written(const NewFile& file)
        : path_(file.path),
          target_(write_place(path_)),
          exists_(::stat(target_.c_str(), &existing_) == 0),
          temporary_(folder(), path_) {
        if (exists_) temporary_.keep_mode_of(existing_);
        for (const std::string_view piece : file.pieces) temporary_.write(piece);
        temporary_.sync();
    }

    void take_name() {
        temporary_.rename(target_);
        named_ = true;
    }
    /// A file that was replaced is gone; one that is new need not stay.
    void take_away() const {
        if (named_ && !exists_) ::unlink(target_.c_str());
    }
    void sync_name() const { sync_folder(folder(), path_); }

  private:
    fs::path folder() const { return target_.has_parent_path() ? target_.parent_path() : fs::path("."); }

    std::string path_;
    fs::path target_;
    struct stat existing_ {};
    bool exists_, named_ = false;
    Temporary temporary_;
};

}  // namespace

std::string write_place(const std::string& path) {
    if (path.empty() || path.ends_with('/'))
        fail("cannot write '", path, "', a file without a name; name the file");
    struct stat existing {};
    if (::stat(path.c_str(), &existing) != 0) {
        if (errno != ENOENT) cannot_write(path, errno);
        return path;
    }
    // rename would replace a symbolic link itself, and as root even a device: follow links, refuse the rest.
    if (S_ISDIR(existing.st_mode)) fail("cannot write ", path, ": it is a folder; name a file in it");
    if (!S_ISREG(existing.st_mode))
        fail("cannot write ", path, ": it is a device or pipe; choose a regular file");
    std::error_code error;
    const fs::path target = fs::canonical(path, error);
    if (error) cannot_write(path, error.value());
    return target.string();
}

void write_file(const std::string& path, std::string_view content) {
    write_file(path, std::vector<std::string_view>{content});
}

void write_file(const std::string& path, const std::vector<std::string_view>& pieces) {
    write_files({{path, pieces}});
}

void write_files(const std::vector<NewFile>& files) {
    std::vector<std::unique_ptr<Written>> written;
    for (const NewFile& file : files) written.push_back(std::make_unique<Written>(file));
    try {
        for (const auto& file : written) file->take_name();
    } catch (...) {
        for (const auto& file : written) file->take_away();
        throw;
    }
    for (const auto& file : written) file->sync_name();
}

std::string keep_copy(const std::string& path) {
    const fs::path original(path);
    for (int number = 1;; ++number) {
        fs::path copy = original.parent_path() / original.stem();
        copy += text(".", number, original.extension().string());
        std::error_code error;
        if (fs::exists(fs::symlink_status(copy, error))) continue;
        write_file(copy.string(), read_file(path));
        return copy.string();
    }
}

GrowingFile::GrowingFile(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) cannot_write(path_, errno);
}

GrowingFile::~GrowingFile() { ::close(descriptor_); }

void GrowingFile::append(std::string_view content) {
    struct stat before {};
    if (::fstat(descriptor_, &before) != 0) cannot_write(path_, errno);
    const int error = write_all(descriptor_, content);
    if (error == 0) return;
    if (::ftruncate(descriptor_, before.st_size) != 0) cannot_write(path_, errno);
    cannot_write(path_, error);
}

void GrowingFile::sync() { sync_to_disk(descriptor_, path_); }

void remove_temporaries(const std::string& folder) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(".tvmap-") && name.ends_with(".tmp")) fs::remove(entry.path(), error);
    }
}

std::string read_file(const std::string& path, std::uint64_t most) {
    const auto cannot_read = [&](int error) {
        fail("cannot read ", path, ": ", reason(error), "; check the path and its permissions");
    };
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) cannot_read(errno);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) cannot_read(errno);
    if (S_ISDIR(status.st_mode)) fail("cannot read ", path, ": it is a folder; name a file in it");

    if (std::uint64_t(status.st_size) > most) too_large(path, text(most, " bytes"));
    // A system that promises more memory than it has would end the process instead of saying so.
    const auto memory = std::uint64_t(::sysconf(_SC_PHYS_PAGES)) * std::uint64_t(::sysconf(_SC_PAGESIZE));
    if (std::uint64_t(status.st_size) > memory) too_large(path, "fits in memory");
    try {
        std::string content;
        content.resize(std::size_t(status.st_size) + 1);  // one more, so that one read sees the end
        std::size_t filled = 0;
        while (true) {
            if (filled > most) too_large(path, text(most, " bytes"));
            if (filled == content.size()) content.resize(2 * content.size());
            const ssize_t count = ::read(file.get(), content.data() + filled, content.size() - filled);
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) cannot_read(errno);
            if (count == 0) break;
            filled += std::size_t(count);
        }
        content.resize(filled);
        return content;
    } catch (const std::bad_alloc&) {
        too_large(path, "fits in memory");
    } catch (const std::length_error&) {
        too_large(path, "fits in memory");
    }
}

void make_folder(const std::string& path) {
    if (path.empty()) fail("cannot make a folder without a name; name the folder");
    std::error_code error;
    fs::create_directories(path, error);
    if (error)
        fail("cannot make the folder ", path, ": ", reason(error.value()), "; ", advice(error.value()));
    if (!fs::is_directory(path, error)) fail(path, " is not a folder; choose another path");
    // Permission bits say nothing to root, on a read-only mount or on a full disk: only a write does.
    Temporary probe(path, path);
    probe.write("probe");
}

}  // namespace tvmap
