// Nothing here runs Python: its folders of packages are guessed from where they usually lie.
#include "kernels/base/library_search.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

constexpr const char* variable = "TVMAP_CUDA_LIBRARIES";

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

std::vector<std::string> parts(const std::string& path) {
    std::vector<std::string> all;
    std::istringstream in(path);
    for (std::string part; std::getline(in, part, ':');)
        if (!part.empty()) all.push_back(part);
    return all;
}

// The sub-folders whose names begin so, in the order of their names; none where the folder cannot be read.
std::vector<fs::path> folders_in(const fs::path& folder, const std::string& begin = "") {
    std::vector<fs::path> found;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
        if (at->path().filename().string().starts_with(begin) && fs::is_directory(at->path(), error))
            found.push_back(at->path());
    std::sort(found.begin(), found.end());
    return found;
}

class Folders {
  public:
    void add(const fs::path& folder) {
        std::error_code error;
        const bool known = std::find(list_.begin(), list_.end(), folder.string()) != list_.end();
        if (!known && fs::is_directory(folder, error)) list_.push_back(folder.string());
    }
    void add_loader_path() { list_.push_back(""); }

    // A folder of Python packages: nvidia/cudnn/lib, nvidia/cublas/lib, nvidia/cu13/lib, …
    void add_packages(const fs::path& packages) {
        for (const fs::path& package : folders_in(packages / "nvidia")) add(package / "lib");
    }
    // An installation of Python: PREFIX/lib/python3*/{site,dist}-packages.
    void add_python(const fs::path& prefix) {
        for (const fs::path& version : folders_in(prefix / "lib", "python3"))
            for (const char* packages : {"site-packages", "dist-packages"}) add_packages(version / packages);
    }

    std::vector<std::string> list() && { return std::move(list_); }

  private:
    std::vector<std::string> list_;
};

// The prefix of the python3 that a shell would run; empty where there is none.
fs::path python_prefix() {
    std::error_code error;
    for (const std::string& folder : parts(environment("PATH")))
        if (const fs::path python = fs::path(folder) / "python3"; fs::exists(python, error))
            return python.parent_path().parent_path();
    return {};
}

}  // namespace

std::vector<std::string> library_folders() {
    Folders folders;
    for (const std::string& folder : parts(environment(variable))) folders.add(folder);
    folders.add_loader_path();
    folders.add("/usr/local/cuda/lib64");
    folders.add("/usr/local/cuda/targets/x86_64-linux/lib");
    if (const std::string active = environment("VIRTUAL_ENV"); !active.empty()) folders.add_python(active);
    if (const fs::path prefix = python_prefix(); !prefix.empty()) folders.add_python(prefix);
    for (const fs::path& folder : folders_in("/opt")) {
        folders.add_python(folder / ".venv");
        folders.add_python(folder);
    }
    folders.add_python("/usr/local");
    folders.add_python("/usr");
    if (const std::string home = environment("HOME"); !home.empty())
        folders.add_python(fs::path(home) / ".local");
    return std::move(folders).list();
}

void* open_library(const std::vector<std::string>& names, bool global, std::string* obstacle) {
    const std::vector<std::string> folders = library_folders();
    std::string unusable, searched;
    for (const std::string& folder : folders) {
        searched += (searched.empty() ? "" : ", ") + (folder.empty() ? "the loader's path" : folder);
        for (const std::string& name : names) {
            const std::string file = folder.empty() ? name : folder + "/" + name;
            if (void* library = dlopen(file.c_str(), RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL)))
                return library;
            const char* const why = dlerror();
            std::error_code error;
            if (!folder.empty() && fs::exists(file, error) && why && unusable.empty())
                unusable = text(" (", why, ")");
        }
    }
    std::string wanted;
    for (const std::string& name : names) wanted += (wanted.empty() ? "" : " or ") + name;
    *obstacle = text(wanted, " cannot be opened", unusable, "; searched: ", searched,
                     "; set the environment variable ", variable, " to the folder that holds it");
    return nullptr;
}

void* library_function(void* library, const char* name) {
    if (void* function = dlsym(library, name)) return function;
    const char* const why = dlerror();
    fail("a library lacks the function ", name, " (", why ? why : "no reason given",
         "): install a newer version");
}

}  // namespace tvmap
