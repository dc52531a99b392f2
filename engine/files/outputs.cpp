#include "engine/files/outputs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "engine/files/file.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

/// The nearest folder above `path` that is there.
fs::path standing_folder(const fs::path& path) {
    fs::path folder = path;
    std::error_code error;
    do folder = folder.has_parent_path() ? folder.parent_path() : fs::path(".");
    while (!fs::exists(folder, error) && folder != folder.parent_path() && folder != ".");
    return folder;
}

/// Refuses what this user may not make, and names that the file system does not take, of the file and of the
/// folders above it.
void check_makeable(const Output& output, const fs::path& folder, const fs::path& place) {
    if (::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
        fail("cannot write ", output.path, ": ", std::generic_category().message(errno),
             "; choose a folder that you may write in");
    const long longest = ::pathconf(folder.c_str(), _PC_NAME_MAX);
    if (longest < 0) return;  // unknown
    const fs::path made = place.lexically_relative(folder);
    for (const fs::path& part : made.empty() ? place : made)
        if (part.native().size() > std::size_t(longest))
            fail("cannot write ", output.path, ": a name of ", part.native().size(), " bytes, and ",
                 folder.string(), " takes ", longest, "; choose a shorter name");
}

/// Refuses a file that rename(2) could not put another one in the place of.
void check_replaceable(const Output& output, const fs::path& folder, const fs::path& place) {
    struct statx file {
    }, around{};
    if (::statx(AT_FDCWD, place.c_str(), 0, STATX_BASIC_STATS, &file) != 0) return;  // none is there
    if (::statx(AT_FDCWD, folder.c_str(), 0, STATX_BASIC_STATS, &around) != 0) return;
    const auto refuse = [&](const char* reason) {
        fail("cannot write ", output.path, ": ", reason, "; choose another path");
    };
    if (file.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))
        refuse("what is there is marked as not to be changed (see lsattr)");
    if (file.stx_attributes & STATX_ATTR_MOUNT_ROOT) refuse("what is there is mounted by itself");
    const uid_t user = ::geteuid();
    if ((around.stx_mode & S_ISVTX) != 0 && user != 0 && user != file.stx_uid && user != around.stx_uid)
        refuse("what is there belongs to another user, and so does its folder");
}

/// Bytes that this user can still write there. Systems that tell nothing have no limit.
std::uint64_t room_in(const fs::path& folder) {
    struct statvfs disk {};
    if (::statvfs(folder.c_str(), &disk) != 0 || disk.f_blocks == 0) return UINT64_MAX;
    return std::uint64_t(::geteuid() == 0 ? disk.f_bfree : disk.f_bavail) * disk.f_frsize;
}

/// Files are written one after the other, each beside the one that it then replaces.
class Rooms {
  public:
    void take(const Output& output, const fs::path& folder, const fs::path& place) {
        struct stat disk {
        }, old{};
        if (::stat(folder.c_str(), &disk) != 0) return;
        const auto [room, fresh] = rooms_.emplace(disk.st_dev, 0);
        if (fresh) room->second = room_in(folder);
        if (output.bytes > room->second)
            fail("cannot write ", output.path, ": it takes ", output.bytes,
                 " bytes at least, and the disk has ", room->second,
                 " left for it; free some space or choose another disk");
        if (room->second == UINT64_MAX) return;
        room->second -= output.bytes;
        if (::stat(place.c_str(), &old) == 0 && old.st_nlink == 1)
            room->second += std::uint64_t(old.st_blocks) * 512;
    }

  private:
    std::map<dev_t, std::uint64_t> rooms_;
};

}  // namespace

void prepare_outputs(const std::vector<Output>& outputs, const std::vector<std::string>& read) {
    std::map<fs::path, std::string> places;
    std::set<fs::path> inputs;
    for (const std::string& path : read) {
        std::error_code none;
        const fs::path unique = fs::canonical(path, none);
        if (!none) inputs.insert(unique);
    }
    std::set<fs::path> folders;
    Rooms rooms;
    for (const Output& output : outputs) {
        const fs::path place = write_place(output.path);
        std::error_code error;
        const fs::path unique = fs::weakly_canonical(fs::absolute(place, error), error);
        if (inputs.count(unique) > 0)
            fail("cannot write ", output.path, ": it is read, and would be lost; choose another path");
        const auto [other, fresh] = places.emplace(unique, output.path);
        if (!fresh)
            fail("cannot write ", output.path, ": ", other->second,
                 " is the same file, and one would replace the other; choose another path");
        const fs::path folder = standing_folder(place);
        check_makeable(output, folder, place);
        check_replaceable(output, folder, place);
        rooms.take(output, folder, place);
        folders.insert(place.has_parent_path() ? place.parent_path() : fs::path("."));
    }
    for (const fs::path& folder : folders) make_folder(folder.string());
}

}  // namespace tvmap
