// A queue of GPU work, in order. Passing one on needs no vendor header.
#pragma once

namespace tvmap::gpu {

struct Stream {
    void* handle = nullptr;  ///< a cudaStream_t, or the emulation's queue
};

}  // namespace tvmap::gpu
