// Plans for a device that is not here, by which cuDNN's choices for it can be looked at.
#pragma once
#include <string>

namespace tvmap::cuda {

/// From here on, available_passes() and planned_pass() plan for the device of this description, the JSON by which cuDNN
/// serialises a CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR; the passes cannot run. For a process that does nothing else,
/// before its first plan. Throws Error where cuDNN does not take it.
void plan_for_device(const std::string& description);

}  // namespace tvmap::cuda
