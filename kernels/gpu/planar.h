// What kernels on planar tensors share: quads of four neighbouring floats, accessed in 16 bytes at once where
// lengths and addresses allow it (`wide`), else one by one; and the numbering of threads over long runs of
// floats or over the rows and columns of planes.
#pragma once
#include <cstdint>

#include "kernels/base/features.h"
#include "kernels/gpu/gpu.h"

namespace tvmap::cuda {

/// What a kernel is passed of a view.
template <class T>
struct Images {
    T* data;
    std::int64_t stride;  ///< from one image to the next

    Images(const FeatureView<T>& view) : data(view.data), stride(view.shape.image_stride) {}
    __device__ T* operator[](unsigned n) const { return data + n * stride; }
};

struct Quad {
    float v[4];
};

/// The `count` (4 where wide) floats from `p` on; zero for the missing ones.
template <bool wide>
__device__ inline Quad load_quad(const float* p, int count) {
    if constexpr (wide) {
        const float4 q = *reinterpret_cast<const float4*>(p);
        return {{q.x, q.y, q.z, q.w}};
    } else {
        Quad q;
        for (int k = 0; k < 4; ++k) q.v[k] = k < count ? p[k] : 0.0f;
        return q;
    }
}

template <bool wide>
__device__ inline void store_quad(float* p, const Quad& q, int count) {
    if constexpr (wide) {
        // By name, since nvcc splits some assignments into four stores.
        __stcg(reinterpret_cast<float4*>(p), make_float4(q.v[0], q.v[1], q.v[2], q.v[3]));
    } else {
        for (int k = 0; k < 4; ++k)
            if (k < count) p[k] = q.v[k];
    }
}

/// Whether runs of `size` floats that follow each other in the images of all views can be accessed in vectors
/// of `floats` floats.
template <class... T>
bool wide_access(int floats, std::int64_t size, const FeatureView<T>&... views) {
    const auto aligned = [&](const void* data, const Features& shape) {
        return reinterpret_cast<std::uintptr_t>(data) % (sizeof(float) * floats) == 0 &&
               (shape.n <= 1 || shape.image_stride % floats == 0);
    };
    return size % floats == 0 && (... && aligned(views.data, views.shape));
}

constexpr unsigned planar_threads = 256;

/// A thread for every quad of `size` floats along x, for every y and z.
inline gpu::Launch quad_launch(const char* name, std::int64_t size, int y, int z = 1) {
    return {.name = name,
            .grid = dim3(gpu::blocks_for(size, 4 * planar_threads), unsigned(y), unsigned(z)),
            .block = dim3(planar_threads)};
}

/// The thread's quad there.
struct QuadPlace {
    std::int64_t at;  ///< its first float
    int count;        ///< its floats; zero where there is none for the thread

    __device__ explicit QuadPlace(std::int64_t size) {
        at = 4 * (std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x);
        count = size - at >= 4 ? 4 : size > at ? int(size - at) : 0;
    }
};

/// out[i] = formula(in[i]…), or added to it, for the thread's quad of `size` floats.
template <bool wide, class Formula, class... Input>
__device__ inline void write_quad(std::int64_t size, bool accumulate, float* out, const Formula& formula,
                                  const Input*... in) {
    const QuadPlace place(size);
    if (place.count == 0) return;
    out += place.at;
    const auto apply = [&](const auto&... quads) {
        Quad result;
        for (int k = 0; k < 4; ++k) result.v[k] = formula(quads.v[k]...);
        return result;
    };
    Quad result = apply(load_quad<wide>(in + place.at, place.count)...);
    if (accumulate) {
        const Quad old = load_quad<wide>(out, place.count);
        for (int k = 0; k < 4; ++k) result.v[k] += old.v[k];
    }
    store_quad<wide>(out, result, place.count);
}

/// Threads for each of `count` planes of an image, in rows and columns.
struct Planes {
    int count, rows, columns;
};

/// Which of them a thread is.
struct PlanePlace {
    bool exists;
    std::int64_t plane;
    int row, column;

    __device__ explicit PlanePlace(const Planes& planes) {
        const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
        const unsigned across = thread / unsigned(planes.columns);
        plane = across / unsigned(planes.rows);
        exists = plane < planes.count;
        row = int(across % unsigned(planes.rows));
        column = int(thread % unsigned(planes.columns));
    }
};

inline gpu::Launch plane_launch(const char* name, const Planes& planes, int images) {
    const std::int64_t threads = std::int64_t(planes.count) * planes.rows * planes.columns;
    if (threads > UINT32_MAX)  // which number them
        fail("CUDA: ", name, ": ", threads, " threads are more than one launch can take; use smaller images");
    return {.name = name,
            .grid = dim3(gpu::blocks_for(threads, planar_threads), unsigned(images)),
            .block = dim3(planar_threads)};
}

}  // namespace tvmap::cuda
