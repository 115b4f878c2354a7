// Where the time of an execute goes on the host.
#pragma once

#include <chrono>
#include <cstddef>

namespace etwebgpu {

struct HostTimes {     // microseconds
  double prepare = 0;  // inputs checked, the plan found, inputs and live scalars written
  double encode = 0;   // commands recorded, unless they were ahead, and submitted
  double ahead = 0;    // commands of the next call recorded, while the GPU works
  double wait = 0;     // for the GPU
  double read = 0;     // outputs converted and handed over
};

// Every moment from start() on counts for the part that is noted next.
class HostClock {
 public:
  void start() {
    times_ = {};
    last_ = Clock::now();
  }
  void note(double HostTimes::* part) {
    const Clock::time_point now = Clock::now();
    times_.*part += std::chrono::duration<double, std::micro>(now - last_).count();
    last_ = now;
  }
  // Makes a sum over steps that of one.
  void average(std::size_t steps) {
    if (steps == 0) return;
    for (const auto part : {&HostTimes::prepare, &HostTimes::encode, &HostTimes::ahead,
                            &HostTimes::wait, &HostTimes::read}) {
      times_.*part /= static_cast<double>(steps);
    }
  }
  const HostTimes& times() const { return times_; }

 private:
  using Clock = std::chrono::steady_clock;
  HostTimes times_;
  Clock::time_point last_;
};

}  // namespace etwebgpu
