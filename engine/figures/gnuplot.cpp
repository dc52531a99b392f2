// gnuplot runs as a child of its own, without a shell.
#include "engine/figures/gnuplot.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <system_error>

#include "engine/files/file.h"
#include "engine/files/format.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

[[noreturn]] void cannot_run(const char* step) {
    fail("cannot run gnuplot (", step, "): ", std::generic_category().message(errno),
         "; the data it would draw is kept beside the figure");
}

/// An unnamed file in memory, gone with its descriptor.
class MemoryFile {
  public:
    explicit MemoryFile(std::string_view content = {}) : number_(::memfd_create("gnuplot", MFD_CLOEXEC)) {
        if (number_ < 0) cannot_run("memfd_create");
        while (!content.empty()) {
            const ssize_t written = ::write(number_, content.data(), content.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) {
                ::close(number_);
                cannot_run("write");
            }
            content.remove_prefix(std::size_t(written));
        }
        ::lseek(number_, 0, SEEK_SET);
    }
    ~MemoryFile() { ::close(number_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    int number() const { return number_; }
    std::string content() const { return read_file(text("/proc/self/fd/", number_)); }

  private:
    int number_;
};

constexpr int kAbsent = 127, kNoFolder = 126;  // exit codes of the child before gnuplot takes over

/// Runs gnuplot and returns its wait status. Between fork and exec only async-signal-safe calls: other
/// threads may have held any lock.
int run_child(const std::string& folder, const MemoryFile& script, const MemoryFile& complaints) {
    const char* arguments[] = {"gnuplot", "-d", "-", nullptr};  // -d: without the user's own settings
    const pid_t child = ::fork();
    if (child < 0) cannot_run("fork");
    if (child == 0) {
        const int nowhere = ::open("/dev/null", O_WRONLY);
        if (::chdir(folder.c_str()) != 0) ::_exit(kNoFolder);
        ::dup2(script.number(), STDIN_FILENO);
        ::dup2(nowhere, STDOUT_FILENO);
        ::dup2(complaints.number(), STDERR_FILENO);
        ::execvp(arguments[0], const_cast<char* const*>(arguments));
        ::_exit(kAbsent);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0)
        if (errno != EINTR) cannot_run("waitpid");
    return status;
}

/// gnuplot shows the line and a caret before it says "line N: what is wrong".
std::string first_complaint(const std::string& complaints) {
    std::string first;
    for (std::string_view rest = complaints; !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        const std::size_t place = line.find(" line ");
        if (place != line.npos) return std::string(line.substr(place + 1));
        if (first.empty() && line.find_first_not_of(" \t^") != line.npos) first = line;
    }
    return first.empty() ? "no reason given" : first;
}

}  // namespace

bool run_gnuplot(const std::string& script, const std::string& folder) {
    const MemoryFile input(script), complaints;
    const int status = run_child(folder, input, complaints);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    if (WIFEXITED(status) && WEXITSTATUS(status) == kAbsent) return false;
    if (WIFEXITED(status) && WEXITSTATUS(status) == kNoFolder)
        fail("cannot draw figures in ", folder, ": the folder cannot be entered; make it first");
    if (WIFSIGNALED(status))
        fail("gnuplot was ended by signal ", WTERMSIG(status), " in ", folder, "; draw the figures again");
    fail("gnuplot failed in ", folder, ": ", first_complaint(complaints.content()),
         "; check the script and its data files");
}

std::string quoted(const std::string& content) {
    std::string result = "\"";
    bool escaped = false;  // gnuplot would take a digit after three for a fourth
    for (const unsigned char c : content) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ' ' || c == '.' ||
                            c == ',' || c == '_' || c == '-' || c == '/';
        const bool plain = letter || (c >= '0' && c <= '9' && !escaped);
        result += plain ? std::string(1, char(c)) : format("\\%03o", unsigned(c));
        escaped = !plain;
    }
    return result + "\"";
}

namespace {

namespace fs = std::filesystem;

/// A kind of file, and gnuplot's terminal for a figure in it. Text is 9 points high, 12 pixels of 1/96 inch.
struct FileKind {
    const char* ending;
    std::string (*terminal)(const Figure&);
};

constexpr FileKind kinds[] = {
    {".svg",
     [](const Figure& f) {
         return format("svg size %d,%d font 'sans-serif,12' background 'white'", f.width, f.height);
     }},
    {".png",  // twice as fine
     [](const Figure& f) {
         return format("pngcairo size %d,%d font 'sans-serif,12' fontscale 2 linewidth 2 pointscale 2",
                       2 * f.width, 2 * f.height);
     }},
    {".pdf", [](const Figure& f) {
         return format("pdfcairo size %.3fin,%.3fin font 'sans-serif,9' fontscale 1 linewidth 0.75",
                       f.width / 96.0, f.height / 96.0);
     }}};

std::string unfinished(const FileKind& kind) { return std::string(".unfinished") + kind.ending; }

/// Draws these files of a figure in one go: to other names first, so that no half of one ever bears its own.
void draw(const std::string& folder, const Figure& figure, const std::vector<FileKind>& files) {
    std::string script;
    for (const FileKind& kind : files)
        script +=
            text("reset\nset terminal ", kind.terminal(figure), "\nset output '", unfinished(kind),
                 "'\nset encoding utf8\nset datafile separator ','\n", figure.commands, "\nunset output\n");
    try {
        if (!run_gnuplot(script, folder)) fail("gnuplot is not installed");
        for (const FileKind& kind : files) {
            const fs::path drawn = fs::path(folder) / (figure.name + kind.ending);
            std::error_code error;
            fs::rename(fs::path(folder) / unfinished(kind), drawn, error);
            if (error) fail("cannot write ", drawn.string(), ": ", error.message());
        }
    } catch (...) {
        std::error_code ignored;
        for (const FileKind& kind : files) fs::remove(fs::path(folder) / unfinished(kind), ignored);
        throw;
    }
}

/// The first few of a list, and how many more there are.
std::string listed(const std::vector<std::string>& names) {
    constexpr std::size_t shown = 5;
    std::string line;
    for (std::size_t i = 0; i < std::min(names.size(), shown); ++i) line += (i ? ", " : "") + names[i];
    return names.size() > shown ? text(line, " and ", names.size() - shown, " more") : line;
}

}  // namespace

void remove_figure(const std::string& folder, const std::string& name) {
    std::error_code ignored;
    for (const FileKind& kind : kinds) fs::remove(fs::path(folder) / (name + kind.ending), ignored);
}

std::string draw_figures(const std::string& folder, const std::vector<Figure>& figures) {
    std::vector<std::string> missing;
    std::string reason;
    for (const Figure& figure : figures) {
        remove_figure(folder, figure.name);
        try {
            draw(folder, figure, {std::begin(kinds), std::end(kinds)});
            continue;
        } catch (const Error&) {
            // One by one then: some gnuplots cannot make PNG or PDF files.
        }
        for (const FileKind& kind : kinds) try {
                draw(folder, figure, {kind});
            } catch (const Error& error) {
                missing.push_back(figure.name + kind.ending);
                if (reason.empty()) reason = error.what();
            }
    }
    if (missing.empty()) return "";
    return text("figures missing in ", folder, ": ", listed(missing), " (", reason,
                "); their data stand in files there");
}

}  // namespace tvmap
