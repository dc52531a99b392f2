// The memory of this process as the system counts it.
#pragma once
#include <cstddef>

namespace tvmap {

/// Resident now (VmRSS) and at most so far (VmHWM), in bytes; 0 where the system does not tell.
std::size_t resident_bytes();
std::size_t peak_resident_bytes();

/// Of `bytes` at `memory`, those in pages that are resident. 0 where the system does not tell.
std::size_t resident_bytes(const void* memory, std::size_t bytes);

/// Gives memory that was freed back to the system, so that what is resident is in use.
void release_free_memory();

/// Starts VmHWM anew from what is resident now, where the system allows it.
void reset_peak_resident();

}  // namespace tvmap
