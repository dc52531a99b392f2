// TensorBoard's event file: records of (length, checksum, protocol buffer, checksum).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace tvmap {

/// One scalar of one step.
struct ScalarEvent {
    std::string tag;
    long long step = 0;
    double wall_time = 0;  ///< seconds from any origin: the scalars of a run are told apart in time by it
    float value = 0;
};

/// The bytes of an event file that holds these scalars in this order.
std::string event_file(const std::vector<ScalarEvent>& events);

}  // namespace tvmap
