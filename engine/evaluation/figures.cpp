// The colour map is a curve through CIE L*a*b* whose lightness L* rises evenly with the value, so that equal
// steps look equal and a grey print keeps their order. gnuplot runs as a child of its own, without a shell.
#include "engine/evaluation/figures.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "engine/files/file.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

// ------------------------------------------------------------------------------------------------ colours

constexpr double kDarkest = 6, kBrightest = 95;  // L*

/// a* and b* at equal distances along the map: blue, violet, red, orange, yellow.
constexpr std::array<std::array<double, 2>, 6> kHues{
    {{8, -22}, {36, -46}, {58, -14}, {50, 34}, {22, 62}, {-8, 44}}};

/// sRGB of an L*a*b* colour under the white point D65.
std::array<float, 3> srgb(double lightness, double a, double b) {
    const auto cube = [](double t) { return t > 6.0 / 29 ? t * t * t : 108.0 / 841 * (t - 4.0 / 29); };
    const double fy = (lightness + 16) / 116;
    const double x = 0.95047 * cube(fy + a / 500), y = cube(fy), z = 1.08883 * cube(fy - b / 200);
    const double linear[3] = {3.2404542 * x - 1.5371385 * y - 0.4985314 * z,
                              -0.9692660 * x + 1.8760108 * y + 0.0415560 * z,
                              0.0556434 * x - 0.2040259 * y + 1.0572252 * z};
    std::array<float, 3> out;
    for (int c = 0; c < 3; ++c) {
        const double light = std::clamp(linear[c], 0.0, 1.0);
        out[c] = float(light <= 0.0031308 ? 12.92 * light : 1.055 * std::pow(light, 1 / 2.4) - 0.055);
    }
    return out;
}

using Colours = std::array<std::array<float, 3>, 256>;

const Colours& colour_map() {
    static const Colours colours = [] {
        Colours table;
        for (std::size_t i = 0; i < table.size(); ++i) {
            const double t = double(i) / double(table.size() - 1), along = t * double(kHues.size() - 1);
            const std::size_t k = std::min(std::size_t(along), kHues.size() - 2);
            const double part = along - double(k);
            const auto mix = [&](int c) { return (1 - part) * kHues[k][c] + part * kHues[k + 1][c]; };
            table[i] = srgb(kDarkest + t * (kBrightest - kDarkest), mix(0), mix(1));
        }
        return table;
    }();
    return colours;
}

// ------------------------------------------------------------------------------------------------ gnuplot

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

Picture false_colour(const float* values, int height, int width, float from, float to) {
    Picture picture{height, width, 3, 8, {}};
    picture.values.resize(std::size_t(height) * width * 3);
    const Colours& colours = colour_map();
    const double scale = to > from ? double(colours.size() - 1) / (double(to) - from) : 0;
    for (std::size_t i = 0; i < std::size_t(height) * width; ++i) {
        // NaN fails the comparison and is drawn dark.
        const double place = values[i] > from ? std::min((double(values[i]) - from) * scale, 255.0) : 0;
        const auto& colour = colours[std::size_t(std::lround(place))];
        std::copy(colour.begin(), colour.end(), picture.values.begin() + std::ptrdiff_t(3 * i));
    }
    return picture;
}

Picture grey_picture(const float* values, int height, int width) {
    return {height, width, 1, 8, std::vector<float>(values, values + std::size_t(height) * width)};
}

Picture panel(const std::vector<Picture>& pictures, int gap) {
    if (pictures.empty()) fail("a panel without pictures; give at least one");
    if (gap < 0) fail("a panel with a gap of ", gap, " pixels; choose 0 or more");
    Picture whole{pictures[0].height, gap * int(pictures.size() - 1), 1, 8, {}};
    for (const Picture& picture : pictures) {
        if (picture.height != whole.height)
            fail("a panel of pictures of ", whole.height, " and ", picture.height,
                 " rows; give pictures of one height");
        whole.width += picture.width;
        whole.channels = std::max(whole.channels, picture.channels);
        whole.bits = std::max(whole.bits, picture.bits);
    }
    whole.values.assign(std::size_t(whole.height) * whole.width * whole.channels, 1.0f);
    int left = 0;
    for (const Picture& picture : pictures) {
        for (int i = 0; i < picture.height; ++i)
            for (int j = 0; j < picture.width; ++j)
                for (int c = 0; c < whole.channels; ++c) {
                    const std::size_t from = (std::size_t(i) * picture.width + j) * picture.channels;
                    whole.values[(std::size_t(i) * whole.width + left + j) * whole.channels + c] =
                        picture.values[from + (picture.channels == 3 ? c : 0)];
                }
        left += picture.width + gap;
    }
    return whole;
}

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

namespace {

/// Draws one file of a figure: to another name first, so that no half of it ever bears its own.
void draw(const std::string& folder, const std::string& file, const std::string& terminal,
          const std::string& commands) {
    namespace fs = std::filesystem;
    const std::string name = ".unfinished-" + file;
    const fs::path unfinished = fs::path(folder) / name, drawn = fs::path(folder) / file;
    try {
        if (!run_gnuplot(
                text("set terminal ", terminal, "\nset output '", name, "'\n", commands, "\nunset output\n"),
                folder))
            fail("gnuplot is not installed");
        std::error_code error;
        fs::rename(unfinished, drawn, error);
        if (error) fail("cannot write ", drawn.string(), ": ", error.message());
    } catch (...) {
        std::error_code ignored;
        fs::remove(unfinished, ignored);
        throw;
    }
}

}  // namespace

std::string draw_figures(const std::string& folder, const std::vector<Figure>& figures) {
    std::string missing, reason;
    for (const Figure& figure : figures) {
        const std::string size = text(" size ", figure.width, ",", figure.height);
        // One by one: some gnuplots cannot make PNG files.
        const std::pair<std::string, std::string> files[] = {
            {figure.name + ".svg", "svg" + size + " background 'white'"},
            {figure.name + ".png", "pngcairo" + size}};
        for (const auto& [file, terminal] : files) try {
                draw(folder, file, terminal, figure.commands);
            } catch (const Error& error) {
                missing += (missing.empty() ? "" : ", ") + file;
                if (reason.empty()) reason = error.what();
            }
    }
    if (missing.empty()) return "";
    return text("figures missing in ", folder, ": ", missing, " (", reason,
                "); their data stand in CSV files there");
}

}  // namespace tvmap
