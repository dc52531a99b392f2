#include "apps/program/progress_line.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <utility>

#include "apps/program/command.h"

namespace tvmap {
namespace {

std::string duration(double seconds) {
    const long long s = std::llround(std::min(seconds, 1e9));
    char line[64];
    if (s < 3600)
        std::snprintf(line, sizeof line, "%lld:%02lld", s / 60, s % 60);
    else
        std::snprintf(line, sizeof line, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    return line;
}

}  // namespace

ProgressLine::ProgressLine(std::string label, double total, std::string unit, bool quiet)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      quiet_(quiet),
      terminal_(isatty(2) != 0) {}

ProgressLine::~ProgressLine() {
    if (shown_ && terminal_) std::cerr << "\r\033[K" << std::flush;
}

void ProgressLine::update(double done, const std::string& more) {
    if (quiet_) return;
    const auto now = Clock::now();
    // Often enough to watch; rarely enough for a log.
    if (now - last_ < std::chrono::milliseconds(terminal_ ? 200 : 20000)) return;
    last_ = now;
    shown_ = true;
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    const double rate = done / elapsed;
    std::cerr << (terminal_ ? "\r\033[K" : "") << label_ << ": " << number(done) << " of " << number(total_)
              << " " << unit_ << ", " << number(rate, 3) << " " << unit_ << "/s, "
              << duration((total_ - done) / rate) << " left" << (more.empty() ? "" : ", ") << more
              << (terminal_ ? "" : "\n") << std::flush;
}

}  // namespace tvmap
