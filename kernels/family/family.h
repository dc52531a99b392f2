// A family of problems, one primal-dual iteration for all, and its exact adjoint.
//
//     min over x, w   ½‖A x − z‖² + ‖Λ ∘ K (x, w)‖₁
//
// K is one of the regularisers of kernels/family/differences.h, A one of the data terms below. The dual of the data, p,
// enters the iteration as r = Aᴴp alone, so that the loop needs N = AᴴA and b = Aᴴz, and nothing in the data's space:
//     x₀ = b or an image of its own, w₀ = 0, ū₀ = u₀ = (x₀, w₀), r₀ = 0, q₀ = 0;  for k = 0 … T−1
//         r ← (r + σ(N x̄ − b)) / (1 + σ)
//         q ← clip(q + σK ū, −Λ, Λ), decisions e recorded
//         u₊ = u − τ((r, 0) + K*q),   ū = u₊ + θ(u₊ − u)
//     result x_T.
// Adjoint: with the gradients U, Ū, R, Q of u, ū, r, q, in Y = U + Ū, Ȳ = U + (1+θ)Ū, R̃ = −R and Q̃ = −Q (each component
// over its multiplicity), reversing the steps gives the same step again, with σ and τ in each other's places, without b,
// and with N in the other half:
//         R̃ ← (R̃ + τȲₓ) / (1 + σ)
//         Q̃′ = Q̃ + τK Ȳ,    d_Λ −= multiplicity·e·Q̃′,    Q̃ ← Q̃′ where e = 0, else 0
//         Y₊ = Y − σ((N R̃, 0) + K*Q̃),   Ȳ = Y₊ + θ(Y₊ − Y)
// from Y = Ȳ = (∂loss/∂x_T, 0) and zeros; at the end d_b = σΣR̃, d_x₀ = Yₓ, and d_z = A d_b.
// Impulses (salt and pepper) call for Huber's Σ h(x − z) in the place of ½‖x − z‖² (DataTerm::huber), h(t) = t²/2δ where
// |t| ≤ δ, else |t| − δ/2; for δ = 0 ‖x − z‖₁. Then
//         r ← clip((r + σ(x̄ − b)) / (1 + σδ), −1, 1), decisions e_r recorded
//         R̃ ← (R̃ + τȲₓ) / (1 + σδ) where e_r = 0, else 0
// and the rest stays as it is: decisions alone are kept, as for K's clip. (With δ = 0 the problem is a linear one, whose
// solution is the same for all Λ around: what is learned there comes from steps that have not converged.)
// For tv and A = I it is kernels/solver/pdhg.h, to the bit (p₀ = 0, x₀ = z): the twin that fused kernels are tested
// against.
//
// Composed, not fused: two or three passes over the planes for each step; products and sums are rounded one by one, so
// that all results are bit-identical on the CPU with any number of threads, on the GPU, and emulated (but for numbers below
// 1.2e-38, as kernels/solver/pdhg.h says).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/base/features.h"
#include "kernels/base/stream.h"
#include "kernels/solver/pdhg.h"

namespace tvmap {

enum class Regulariser {
    tv,   ///< vertical and horizontal differences
    tv8,  ///< and both diagonals, of weight 1/√2
    tgv   ///< second-order total generalised variation, component by component
};

/// What A is. z has the size of the image, but for super_resolution.
enum class DataTerm {
    identity,
    weights,  ///< ½‖x − z‖²_W, a weight W ≥ 0 for each pixel (0: missing): N = W, b = W z
    blur,     ///< circular convolution with a small kernel: N is that with the kernel's autocorrelation
    super_resolution,  ///< means of blocks of factor×factor pixels, ‖A‖ = 1/factor
    huber              ///< A is the identity, and the data term Σ h(x − z). Not with tgv
};

/// A batch of `solves` problems on images of H×W. Solve s has data number s / solves_per_image; its map, result and
/// gradients are number s of their arrays.
struct SolverProblem {
    Regulariser regulariser = Regulariser::tv;
    DataTerm data = DataTerm::identity;
    int solves = 1, height = 0, width = 0;
    int solves_per_image = 1;
    /// scalar, shared: one Λ for all components; for tgv two, Λ₁ for ∂x − w and then Λ₀ for E. separate: one plane for
    /// each component.
    MapKind map = MapKind::shared;
    Boundary boundary = Boundary::periodic;  ///< of K; a blur is circular always
    bool own_start = false;                  ///< x₀ is an image of its own, not b
    float tau = 1.0f / 3.0f, sigma = 1.0f / 3.0f, theta = 1.0f;
    int kernel_height = 1, kernel_width = 1;  ///< blur: odd, no larger than the image
    int factor = 1;                           ///< super_resolution: divides height and width
    float threshold = 0;                      ///< huber: δ
    double gram_norm = 1;                     ///< ‖N‖ = ‖A‖²: gram_norm() of the data term

    std::int64_t pixels() const { return std::int64_t(height) * width; }
    int fields() const;      ///< planes of u: 1, or 3 for tgv
    int components() const;  ///< planes of q: 2, 4 or 5
    int decisions() const;   ///< planes of e: as many, and for DataTerm::huber one of r behind them
    bool observes_image() const { return data == DataTerm::identity || data == DataTerm::huber; }  ///< A = I
    int maps() const;  ///< of one solve: 1 or 2, or components()
    /// Floats of the map of one solve: maps(), each a number or a plane.
    std::int64_t map_size() const { return map == MapKind::scalar ? maps() : maps() * pixels(); }
    /// Floats of the data z of one image.
    std::int64_t data_size() const { return pixels() / (std::int64_t(factor) * factor); }
    /// Floats of `gram` in SolverInput: weights: images×H×W; blur: the autocorrelation; else 0.
    std::int64_t gram_size() const;
    int images() const { return (solves + solves_per_image - 1) / solves_per_image; }
};

// The state of a batch is a PdhgState, the adjoint's a PdhgAdjointState, with x, x_bar, y, y_bar solves×fields×H×W,
// p (r and R̃ here) and sum_p solves×H×W, q solves×components×H×W.

/// What a solve reads, in the backend's memory.
struct SolverInput {
    const float* b = nullptr;       ///< images×H×W: data_to_image() of z
    const float* start = nullptr;   ///< images×H×W, x₀ where the problem has own_start
    const float* lambda = nullptr;  ///< solves×map_size
    const float* gram = nullptr;    ///< gram_size() floats; of N
};

/// What an adjoint writes; a pointer may be null. d_start only where the problem has own_start.
struct SolverDerivatives {
    float* d_lambda = nullptr;  ///< solves×map_size
    float* d_b = nullptr;       ///< solves×H×W; where x₀ is b, with what b does there
    float* d_start = nullptr;   ///< solves×H×W
    Write write = Write::overwrite;
};

// ---- steps ----

/// ‖[A; K]‖², or a bound above it that is tight on large images (closed forms; with D = ‖∂‖² as in pdhg_operator_norm,
/// a = gram_norm): tv a + D, exact for A = I; tv8 a + D₈, D₈ = max 6 − 2c_v − 2c_h − 2c_v·c_h over the cosines of the
/// periodic grid's frequencies, 8 where a side is even; tgv D + (1 + a + √((1 − a)² + 4D))/2, which is 9 + 2√2 for A = I
/// on even sides.
double solver_norm_squared(const SolverProblem& problem);

/// The largest στL² for which the iteration is proven to converge: 4/(1+2θ) for ½ ≤ θ ≤ 1 (Banert, Upadhyaya and
/// Giselsson; Li and Yan for θ = 1), else 1.
double solver_step_bound(double theta);

/// One line on steps above the classical στL² ≤ 1 (but within the bound above); else empty.
std::string solver_step_warning(const SolverProblem& problem);

/// Throws Error for sizes that do not fit, and for steps above solver_step_bound().
void check_solver(const char* where, const SolverProblem& problem, int iterations);

// ---- data terms ----

/// ‖N‖ from the data term's array in host memory: weights images×H×W, or the blur's kernel; null for the others. Exact.
/// Throws Error for weights and kernels that are none.
double gram_norm(const SolverProblem& problem, const float* host);

/// The blur's autocorrelation, (2·kernel_height − 1)×(2·kernel_width − 1), which is gram_size(), from its kernel. On the
/// host. A step of the solver then costs so many products a pixel: 289 for a kernel of 9×9.
void blur_gram(const SolverProblem& problem, const float* kernel, float* gram);

/// Bytes of the masks of T iterations of the whole batch: one a pixel and step, the digits e + 1 of its decisions in
/// base 3, that of the first component the lowest.
std::size_t solver_mask_bytes(const SolverProblem& problem, int iterations);

/// Scratch memory of solver_forward and solver_adjoint, on either backend, independent of T.
std::size_t solver_workspace_bytes(const SolverProblem& problem);

namespace cpu {

/// b = Aᴴz (weights: W z) for each image. z: images×data_size. data: the weights or the blur's kernel, else null.
void data_to_image(const SolverProblem& problem, const float* data, const float* z, float* b);

/// The adjoint of data_to_image, solve by solve: d_z = A d_b (weights: W d_b). d_b: solves×H×W, d_z: solves×data_size.
void image_to_data(const SolverProblem& problem, const float* data, const float* d_b, float* d_z,
                   Write write);

/// Runs `iterations` steps. output: as for pdhg_forward, with solver_mask_bytes of masks; the steps work in its state.
void solver_forward(const SolverProblem& problem, int iterations, const SolverInput& input,
                    const PdhgOutput& output, const PdhgWorkspace& workspace);

/// The adjoint of solver_forward. gram: as in SolverInput. adjoint: as for pdhg_adjoint; from_image: the call's first step
/// is step 0, so that d_b (or, with own_start, d_start, which no other call writes) takes Yₓ.
void solver_adjoint(const SolverProblem& problem, int iterations, const float* gram,
                    const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                    const PdhgWorkspace& workspace);

/// Unpacks the decisions e ∈ {−1, 0, +1} of one step of one solve: decisions×H×W. For tests and studies.
void solver_unpack_mask(const SolverProblem& problem, int iterations, const std::uint8_t* masks, int solve,
                        int iteration, std::int8_t* e);

/// How far (x, w) and q of one solve are from a solution, in double.
struct SolverGap {
    double primal = 0;           ///< ½‖A x − z‖² + ‖Λ∘K u‖₁
    double complementarity = 0;  ///< ‖Λ∘K u‖₁ − ⟨K u, q⟩, never negative but for rounding
    double image_residual = 0;   ///< ‖N x − b + (K*q)ₓ‖
    // For DataTerm::huber, with r = clip(−K*q, −1, 1): Σ h(x − z) in the first, Σ h(x − z) + ½δ‖r‖² − ⟨x − z, r⟩ added to
    // the second, and ‖r + K*q‖ for the third.
    double field_residual = 0;  ///< tgv: ‖(K*q)_w‖, else 0
    /// What the image's residual ρ may hide: Σ ½ρ² for A = I; else Σ |ρ|·d, d = max(x − min z, max z − x) the farthest
    /// that x may be from x* there or, for weights w, ρ²/2w where that is less. (Pixels of weight 0 are none of z.)
    double image_excess = 0;

    /// Where the field's residual is 0, at least P(x) − P(x*): since P is convex, with ρ + (K*q − …) among its
    /// subgradients, P(x) − P(x*) ≤ complementarity + ⟨ρ, x − x*⟩ − ½‖A(x − x*)‖². This takes x* to have values
    /// within z's range, which holds but for blurs and blocks, and nearly there. For A = I it is P(x) − D(q), and so
    /// at least ½‖x − x*‖², too.
    double gap() const { return complementarity + image_excess; }
    double relative() const { return primal > 0 ? gap() / primal : gap(); }
};
/// data: as for data_to_image; z: data_size; u: fields×H×W; q: components×H×W. Throws Error for a q outside its bounds.
SolverGap solver_gap(const SolverProblem& problem, const float* data, const float* z, const float* lambda,
                     const float* u, const float* q);

}  // namespace cpu

namespace cuda {

/// As on the CPU, queued into the stream; the same bits.
void data_to_image(gpu::Stream stream, const SolverProblem& problem, const float* data, const float* z,
                   float* b);
void image_to_data(gpu::Stream stream, const SolverProblem& problem, const float* data, const float* d_b,
                   float* d_z, Write write);
void solver_forward(gpu::Stream stream, const SolverProblem& problem, int iterations,
                    const SolverInput& input, const PdhgOutput& output, const PdhgWorkspace& workspace);
void solver_adjoint(gpu::Stream stream, const SolverProblem& problem, int iterations, const float* gram,
                    const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                    const PdhgWorkspace& workspace);

}  // namespace cuda
}  // namespace tvmap
