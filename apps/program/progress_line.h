// How far long work has come.
#pragma once
#include <chrono>
#include <string>

namespace tvmap {

/// A line on standard error with rate and time left: rewritten in place on a terminal, now and then in a log.
class ProgressLine {
  public:
    ProgressLine(std::string label, double total, std::string unit, bool quiet);
    ~ProgressLine();
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    /// The total, where it turns out to be another.
    void expect(double total) { total_ = total; }
    /// `done` of `total`; `more` is appended.
    void update(double done, const std::string& more = "");

  private:
    using Clock = std::chrono::steady_clock;
    std::string label_, unit_;
    double total_;
    bool quiet_, terminal_, shown_ = false;
    Clock::time_point start_ = Clock::now(), last_ = start_;
};

}  // namespace tvmap
