// Total-variation denoising with a pixel-wise map Λ (`lambda` in code) by the primal-dual hybrid gradient method
// (Chambolle & Pock, 2011), and the exact adjoint of the unrolled iteration.
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
// derived in kernels/solver/pdhg_sweep.cpp. Every result, masks included, is bit-identical for any number of
// threads, any blocking, any instruction set, and on the GPU for any mapping: products and sums are rounded
// one by one, never fused (on a CPU some 5 to 10 % slower than fused). One thing apart: a CPU takes numbers below 1.2e-38
// for zero (kernels/base/subnormal_numbers.h), which a GPU, no slower for them, keeps.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "kernels/base/features.h"
#include "kernels/base/stream.h"

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

/// The adjoint's iterates of a batch, between the adjoint of one step and of the step before: Y, Ȳ, P̃ are
/// solves×H×W, Q̃ is solves×2×H×W (see kernels/solver/pdhg_sweep.cpp). sum_p is the sum of P̃ over the steps done,
/// solves×H×W, or null: then nothing is carried, and each call sums its own steps.
struct PdhgAdjointState {
    float* y = nullptr;
    float* y_bar = nullptr;
    float* p = nullptr;
    float* q = nullptr;
    float* sum_p = nullptr;
};

/// What a solve reads.
struct PdhgInput {
    const float* z = nullptr;       ///< images×H×W
    const float* lambda = nullptr;  ///< solves×map_size
};

/// What a solve writes, and where it starts.
struct PdhgOutput {
    float* x = nullptr;  ///< solves×H×W, receives x_T
    /// Null, or pdhg_mask_bytes that receive the clip's decisions in the solver's own order. (Per solve, step and row,
    /// for every 16 pixels 16 bits each: vertical v > Λ, vertical v < −Λ, the same horizontally.)
    std::uint8_t* masks = nullptr;
    /// Null, or every plane given: left there at the end. Under Neumann boundaries the entries of q that no difference
    /// uses are 0, also where the given state says otherwise.
    const PdhgState* state = nullptr;
    bool start_from_state = false;  ///< and read at the start; else the start is that of the problem
};

/// Scratch memory on a 64-byte boundary, and how much of it there is. Calls refuse less than they need.
struct PdhgWorkspace {
    void* memory = nullptr;
    std::size_t bytes = 0;
};

/// How far an adjoint that ends by itself has come, in the backend's memory; all zero at first.
struct PdhgSettling {
    std::int32_t steps = 0;    ///< done
    std::int32_t settled = 0;  ///< not 0: no more are needed
};

/// What an adjoint reads, and how it is made in stretches, one call for each, the last steps first. Stretches give the
/// d_z of one call over all steps to the bit, and its d_lambda to the rounding of their sums.
struct PdhgAdjoint {
    const std::uint8_t* masks = nullptr;  ///< of the call's steps
    const float* d_x = nullptr;  ///< solves×H×W, ∂loss/∂x_T; not read where the start is a state
    const PdhgAdjointState* state = nullptr;  ///< left there at the end
    bool start_from_state = false;            ///< and read at the start; else Y = Ȳ = d_x and the rest 0
    bool one_mask = false;                    ///< the masks are of one step, and every step takes them
    /// Whether the call's first step is step 0, where x₀ = x̄₀ = z (and maybe p₀): d_z = Y + σΣP̃ (− P̃ where
    /// p₀ = z). Else, for a stretch in the middle, d_z = σΣP̃ alone.
    bool from_image = true;
    /// Null, or in the backend's memory: where it has settled, the call leaves everything as it is.
    const PdhgSettling* settling = nullptr;
};

/// What an adjoint writes; a pointer may be null. Under Neumann boundaries the entries of d_lambda that no difference
/// uses (vertical: last row, horizontal: last column) get no gradient.
struct PdhgDerivatives {
    float* d_lambda = nullptr;  ///< solves×map_size
    float* d_z = nullptr;       ///< solves×H×W: one gradient per solve
    Write write = Write::overwrite;
};

/// One step of a batch and its adjoint, for the derivatives with respect to τ, σ and θ.
struct PdhgStep {
    const float* z = nullptr;  ///< images×H×W
    PdhgState state, next;     ///< the iterates before (x_bar is read) and after the step (p and q)
    PdhgAdjointState adjoint_next, adjoint;  ///< before (y_bar, p, q) and after (p and q) the step's adjoint
    float next_sigma = 0;                    ///< σ of the step that follows; any value for the last one
};

/// ‖[I, ∇]‖ on H×W exactly: L² = 1 + Σ_d 4sin²(π⌊n_d/2⌋/n_d) periodic, 1 + Σ_d 4sin²(π(n_d−1)/(2n_d))
/// Neumann.
double pdhg_operator_norm(int height, int width, Boundary boundary);

namespace cpu {

/// Bytes of the masks of T iterations of the whole batch. (A multiple of 64.)
std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations);

/// Scratch memory of pdhg_forward and of pdhg_adjoint, independent of T: some 28 bytes a pixel for each solve
/// under way, of which there are as many as threads at most. A call runs on no more threads than its workspace
/// was made for; what is enough for one thread is never refused.
std::size_t pdhg_workspace_bytes(const PdhgProblem& problem);

/// Runs `iterations` steps.
void pdhg_forward(const PdhgProblem& problem, int iterations, const PdhgInput& input,
                  const PdhgOutput& output, const PdhgWorkspace& workspace);

/// The adjoint of pdhg_forward (without state). In stretches d_lambda is this call's part, and the parts add up; d_z is
/// due in the last call (sum_p carried) or adds up too (sum_p null, from_image in the last call alone).
/// Steps that differ from one to the next are taken one per call: step k with its own τ and σ, and with θ of
/// step k−1, since Ȳ = Y₊ + θ(Y₊ − Y) belongs to the step that comes next.
void pdhg_adjoint(const PdhgProblem& problem, int iterations, const PdhgAdjoint& adjoint,
                  const PdhgDerivatives& derivatives, const PdhgWorkspace& workspace);

/// Scratch memory of pdhg_step_gradients.
std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem& problem);

/// Adds the parts of one step in ∂loss/∂τ, ∂loss/∂σ, ∂loss/∂θ, summed over the batch, to gradient[0 … 2].
void pdhg_step_gradients(const PdhgProblem& problem, const PdhgStep& step, double* gradient,
                         const PdhgWorkspace& workspace);

/// The end of a stretch of `steps` steps. part, sum: solves doubles, the sums of the squares of what the stretch has
/// added to d_lambda and of what all stretches have. The adjoint has settled where part is at most tolerance²
/// times sum in every solve. Nothing happens where it had settled before.
void pdhg_settle(int solves, const double* part, const double* sum, double tolerance, int steps,
                 PdhgSettling* settling);

/// Unpacks the decision e ∈ {−1, 0, +1} of step `iteration` (0 … T−1) of one solve from masks into e_vertical
/// and e_horizontal (H·W each). For tests and studies, not for speed.
void pdhg_unpack_mask(const PdhgProblem& problem, int iterations, const std::uint8_t* masks, int solve,
                      int iteration, std::int8_t* e_vertical, std::int8_t* e_horizontal);

/// Primal objective P(x) = ½‖x−z‖² + ‖Λ∘∇x‖₁ and gap P(x) − D(q), D(q) = ½‖z‖² − ½‖z − ∇ᵀq‖² for |q| ≤ Λ, of
/// one solve, in double. q: vertical plane, then horizontal. Throws Error for a q outside its bounds, and for a gap
/// that is negative beyond rounding or no number: it would be that of no iterate.
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
    /// cluster: solves that are laid out so; those that are left follow as tiles. 0: all.
    int in_clusters = 0;
    /// cluster, of 2 blocks or more: a block waits for the rows of its two neighbours, not for the whole cluster.
    bool neighbours = false;
};

/// In words, and back; nothing where the words are none of mapping_name()'s. (Whether it fits is another matter.)
std::string mapping_name(const PdhgMapping& mapping);
std::optional<PdhgMapping> mapping_named(const std::string& name);

/// The mapping that problems of these sizes and kind of map have on gpu::device(): the one that was settled, else,
/// from the first question on, the one that should cost least. It never changes within a process, since
/// workspaces are made for it.
PdhgMapping pdhg_mapping(const PdhgProblem& problem);

/// Settles it. kept: what this function answered on such a device before, or ""; it is taken if it fits, else
/// *remark gets a line that says why not. Otherwise, if may_time and the device keeps time, mappings are timed
/// once in a process for each problem. Answers with what is worth keeping: the name of what was timed or kept, ""
/// where the mapping is a guess. Not while work is recorded.
std::string settle_pdhg_mapping(gpu::Stream stream, const PdhgProblem& problem, const std::string& kept,
                                bool may_time, std::string* remark);

std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations);

/// Scratch memory of pdhg_forward and pdhg_adjoint, independent of T.
std::size_t pdhg_workspace_bytes(const PdhgProblem& problem, const PdhgMapping* mapping = nullptr);

/// As on the CPU, queued into the stream. mapping: null, or the one to use; Error where it does not fit the
/// problem or the device.
void pdhg_forward(gpu::Stream stream, const PdhgProblem& problem, int iterations, const PdhgInput& input,
                  const PdhgOutput& output, const PdhgWorkspace& workspace,
                  const PdhgMapping* mapping = nullptr);

/// As on the CPU, queued into the stream.
void pdhg_adjoint(gpu::Stream stream, const PdhgProblem& problem, int iterations, const PdhgAdjoint& adjoint,
                  const PdhgDerivatives& derivatives, const PdhgWorkspace& workspace,
                  const PdhgMapping* mapping = nullptr);

std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem& problem);

/// As on the CPU, queued into the stream; the same bits.
void pdhg_step_gradients(gpu::Stream stream, const PdhgProblem& problem, const PdhgStep& step,
                         double* gradient, const PdhgWorkspace& workspace);

/// As on the CPU, queued into the stream.
void pdhg_settle(gpu::Stream stream, int solves, const double* part, const double* sum, double tolerance,
                 int steps, PdhgSettling* settling);

}  // namespace cuda
}  // namespace tvmap
