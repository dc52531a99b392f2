// Vector clocks: how far each agent (a thread, or what it has running beside it) is known to have come.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace happens_before {

using Agent = std::uint32_t;
using Time = std::uint32_t;  // an agent's own, from 1; 0: before it began

/// Immutable, so that threads that have met share one. Holds a window of agents; nothing is known of others.
class Clock {
  public:
    Time operator[](Agent agent) const {
        return times_ == nullptr || agent - first_ >= times_->size() ? 0 : (*times_)[agent - first_];
    }
    bool knows_nothing() const { return times_ == nullptr; }

  private:
    friend class Join;
    std::shared_ptr<const std::vector<Time>> times_;
    Agent first_ = 0;
};

/// Gathers what several clocks know.
class Join {
  public:
    Join& add(const Clock& clock) {
        if (clock.times_ == nullptr || clock.times_ == last_) return *this;
        last_ = clock.times_;
        reach(clock.first_, clock.first_ + Agent(clock.times_->size()));
        Time* time = times_.data() + (clock.first_ - first_);
        for (const Time other : *clock.times_) *time = std::max(*time, other), ++time;
        return *this;
    }
    Join& add(Agent agent, Time now) {
        reach(agent, agent + 1);
        Time& time = times_[agent - first_];
        time = std::max(time, now);
        return *this;
    }
    /// What was gathered; nothing is left.
    Clock clock() {
        Clock result;
        result.first_ = first_;
        if (!times_.empty()) result.times_ = std::make_shared<const std::vector<Time>>(std::move(times_));
        return result;
    }

  private:
    /// Widens the window.
    void reach(Agent begin, Agent end) {
        if (times_.empty()) first_ = begin;
        if (begin < first_) {
            times_.insert(times_.begin(), first_ - begin, 0);
            first_ = begin;
        }
        if (end - first_ > times_.size()) times_.resize(end - first_);
    }

    std::vector<Time> times_;
    Agent first_ = 0;
    std::shared_ptr<const std::vector<Time>> last_;
};

}  // namespace happens_before
