// One process at a time in a folder.
#pragma once
#include <string>

namespace tvmap {

/// Held as long as it lives, and never longer than its process: the lock is the kernel's (flock), so that neither a
/// crash nor a copied folder leaves one behind. Its file, FOLDER/.tvmap-lock, says who holds it, and is gone with it.
/// On file systems without locks nothing is held.
class FolderLock {
  public:
    /// The folder must exist. Throws Error, naming process and host, where another one holds the lock (be it of this
    /// process), and where the file cannot be made.
    explicit FolderLock(const std::string& folder);
    ~FolderLock();
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

  private:
    std::string path_;
    int file_ = -1;
};

}  // namespace tvmap
