// Room for memory, asked for in advance where a library would not survive being refused it.
#pragma once
#include <cstddef>
#include <string>

namespace tvmap {

/// Throws Error, which names `purpose`, unless the process may have `bytes` more of memory now (ulimit -v).
void require_room(std::size_t bytes, const std::string& purpose);

/// Makes the calling thread's stack grow now to what deep calls will need: a stack that is refused memory later
/// ends the process. Where addresses are limited (ulimit -v), threads share one arena of malloc's from now on. To be
/// called once, early, by the program's first thread. Throws Error.
void reserve_stack();

}  // namespace tvmap
