#include "kernels/emulation/block.h"

#include <cstring>
#include <new>
#include <string>

namespace tvmap::emulation {

std::ostream& operator<<(std::ostream& out, const Meeting& meeting) {
    const std::string file = meeting.where.file_name();
    return out << meeting.name << " (" << file.substr(file.rfind('/') + 1) << ':' << meeting.where.line()
               << ')';
}
bool same(const Where& a, const Where& b) {
    return a.line() == b.line() && a.column() == b.column() &&
           (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

Block::Block(const gpu::Launch& how)
    : fibers(std::size_t(how.block.x) * how.block.y * how.block.z), warps((fibers.size() + 31) / 32) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, how.shared_bytes) != 0) throw std::bad_alloc();
    shared.reset(static_cast<unsigned char*>(memory));
    const dim3 size = how.block;
    for (unsigned t = 0; t < fibers.size(); ++t) {
        Fiber& fiber = fibers[t];
        fiber.thread_index = {t % size.x, t / size.x % size.y, t / (size.x * size.y)};
        fiber.block_size = size;
        fiber.grid_size = how.grid;
        fiber.lane = t % 32;
        fiber.block = this;
        fiber.warp = &warps[t / 32];
        fiber.warp->lanes[fiber.lane] = &fiber;
    }
}

}  // namespace tvmap::emulation
