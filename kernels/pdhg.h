// Total-variation denoising with a pixel-wise map by the primal-dual hybrid gradient method (Chambolle &
// Pock, 2011), and the exact adjoint of the unrolled iteration.
//
//     min_x ½‖x − z‖² + ‖Λ∘∇x‖₁      ∇x = (vertical, horizontal) forward differences      K = [I, ∇]
//
//     x₀ = x̄₀ = z,  q₀ = 0,  p₀ = 0 or z;  for k = 0 … T−1
//         p ← (p + σ(x̄ − z)) / (1 + σ)
//         q ← clip(q + σ∇x̄, −Λ, Λ)
//         x₊ = x − τp − τ∇ᵀq,   x̄ = x₊ + θ(x₊ − x)
//     result x_T.
//
// Adjoint: the same step with the signs e of the clip recorded (two bits per component, pixel and step),
// derived in kernels/pdhg_sweep.cpp. Every result, masks included, is bit-identical for any number of
// threads, any blocking, any instruction set, and on the GPU for any mapping: products and sums are rounded
// one by one, never fused (measured on a CPU: some 3 % slower than fused).
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/features.h"
#include "kernels/stream.h"

namespace tvmap {

enum class DualStart { zero, image };       ///< p₀ = 0 or p₀ = z
enum class Boundary { periodic, neumann };  ///< Neumann: the difference across the border is zero
/// One number per solve; one plane; a vertical and a horizontal plane. Λ ≥ 0 everywhere.
enum class MapKind { scalar, shared, separate };

/// A batch of `solves` independent problems on images of H×W. Solve s denoises z image s / solves_per_image
/// (so many λ for one image need z only once); its map, result and gradients are number s of their arrays.
struct PdhgProblem {
    int solves = 1, height = 0, width = 0;
    int solves_per_image = 1;
    MapKind map = MapKind::shared;
    Boundary boundary = Boundary::periodic;
    DualStart dual_start = DualStart::zero;
    float tau = 1.0f / 3.0f, sigma = 1.0f / 3.0f, theta = 1.0f;

    std::int64_t pixels() const { return std::int64_t(height) * width; }
    /// Floats of the map of one solve: 1, H·W or 2·H·W.
    std::int64_t map_size() const {
        return map == MapKind::scalar ? 1 : (map == MapKind::shared ? 1 : 2) * pixels();
    }
};

/// The iterates of a batch: x, x_bar, p are solves×H×W, q is solves×2×H×W (vertical plane, then horizontal
/// plane).
struct PdhgState {
    float* x = nullptr;
    float* x_bar = nullptr;
    float* p = nullptr;
    float* q = nullptr;
};

/// ‖[I, ∇]‖ on H×W exactly: L² = 1 + Σ_d 4sin²(π⌊n_d/2⌋/n_d) periodic, 1 + Σ_d 4sin²(π(n_d−1)/(2n_d))
/// Neumann.
double pdhg_operator_norm(int height, int width, Boundary boundary);

namespace cpu {

/// Bytes of the masks of T iterations of the whole batch. (A multiple of 64.)
std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations);

/// Scratch memory of pdhg_forward and of pdhg_adjoint, aligned to 64 bytes, independent of T: some 28 bytes a
/// pixel for each solve under way, of which there are at most omp_get_max_threads(). Ask again after raising
/// the number of threads.
std::size_t pdhg_workspace_bytes(const PdhgProblem& problem);

/// Runs `iterations` steps. z: images×H×W, lambda: solves×map_size, x: solves×H×W receives x_T.
/// masks: null, or pdhg_mask_bytes that receive the clip's decisions in the solver's own order. (Per solve,
/// step and row, for every 16 pixels 16 bits each: vertical v > Λ, vertical v < −Λ, the same horizontally.)
/// state: null, or the iterates to start from, replaced by those reached (every plane given). Under Neumann
/// boundaries the entries of q that no difference uses are 0, also where the given state says otherwise.
/// start_from_state says whether they are read: if not, the start is the one above and the state is only
/// written.
void pdhg_forward(const PdhgProblem& problem, int iterations, const float* z, const float* lambda, float* x,
                  std::uint8_t* masks, const PdhgState* state, bool start_from_state, void* workspace);

/// The adjoint of pdhg_forward (without state). d_x: solves×H×W, ∂loss/∂x_T. d_lambda (solves×map_size) and
/// d_z (solves×H×W: one gradient per solve) are written as `write` says; either may be null. Under Neumann
/// boundaries the entries of d_lambda that no difference uses (vertical: last row, horizontal: last column)
/// get no gradient.
void pdhg_adjoint(const PdhgProblem& problem, int iterations, const std::uint8_t* masks, const float* d_x,
                  float* d_lambda, float* d_z, Write write, void* workspace);

/// Unpacks the decision e ∈ {−1, 0, +1} of step `iteration` (0 … T−1) of one solve from masks into e_vertical
/// and e_horizontal (H·W each). For tests and studies, not for speed.
void pdhg_unpack_mask(const PdhgProblem& problem, int iterations, const std::uint8_t* masks, int solve,
                      int iteration, std::int8_t* e_vertical, std::int8_t* e_horizontal);

/// Primal objective P(x) = ½‖x−z‖² + ‖Λ∘∇x‖₁ and gap P(x) − D(q), D(q) = ½‖z‖² − ½‖z − ∇ᵀq‖² for |q| ≤ Λ, of
/// one solve, in double. q: vertical plane, then horizontal.
struct PdhgGap {
    double primal = 0, gap = 0;
    double relative() const { return primal > 0 ? gap / primal : gap; }
};
PdhgGap pdhg_gap(const PdhgProblem& problem, const float* z, const float* lambda, const float* x,
                 const float* q);

}  // namespace cpu

namespace cuda {

/// How solves are laid over a GPU. Results do not depend on it, to the bit; masks written by one mapping, or
/// by the CPU, are read by any.
struct PdhgMapping {
    enum class Kind {
        tiles,    ///< few solves: one block per tile of an image, all at once, halos through global memory
        cluster,  ///< many solves: one cluster of blocks per solve, strips of whole rows, halos through each
                  ///< other's shared memory
        global    ///< every size and GPU: state in global memory, two kernels per step
    };
    Kind kind = Kind::global;
    int tile_rows = 0, tile_columns = 0;  ///< tiles: columns are 16 or a multiple of 32, image width one of 8
    int steps = 0;    ///< tiles: steps per exchange of halos, at most 8 for 16 columns, else 16
    int cluster = 1;  ///< cluster: blocks, a power of two
};

/// The mapping that suits the problem on gpu::device().
PdhgMapping pdhg_mapping(const PdhgProblem& problem);

std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations);

/// Scratch memory of pdhg_forward and pdhg_adjoint, aligned to 64 bytes, independent of T.
std::size_t pdhg_workspace_bytes(const PdhgProblem& problem, const PdhgMapping* mapping = nullptr);

/// As on the CPU, queued into the stream. mapping: null, or the one to use; Error where it does not fit the
/// problem or the device.
void pdhg_forward(gpu::Stream stream, const PdhgProblem& problem, int iterations, const float* z,
                  const float* lambda, float* x, std::uint8_t* masks, const PdhgState* state,
                  bool start_from_state, void* workspace, const PdhgMapping* mapping = nullptr);

/// As on the CPU, queued into the stream.
void pdhg_adjoint(gpu::Stream stream, const PdhgProblem& problem, int iterations, const std::uint8_t* masks,
                  const float* d_x, float* d_lambda, float* d_z, Write write, void* workspace,
                  const PdhgMapping* mapping = nullptr);

}  // namespace cuda
}  // namespace tvmap
