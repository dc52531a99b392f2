// The ways a planned convolution can be computed, behind make_convolution. Private to
// kernels/convolution*.cpp.
#pragma once
#include <memory>
#include <string>

#include "kernels/convolution/convolution.h"

namespace tvmap::cpu {

inline constexpr char pointwise_name[] = "pointwise";

/// Whether pointwise_convolution can compute it: k = 1, from blocked x to at most 4 planar channels.
bool pointwise_applies(const ConvolutionProblem& problem);

/// Our own kernel for those (no vendor library is fast there). Its algorithms() is pointwise_name.
std::unique_ptr<Convolution> pointwise_convolution(const ConvolutionProblem& problem);

inline constexpr char single_input_name[] = "single_input";

/// Whether single_input_convolution can compute it: k = 3, from one planar channel to blocked y, no gradient of x.
bool single_input_applies(const ConvolutionProblem& problem);

/// Our own kernel for those. Its algorithms() is single_input_name.
std::unique_ptr<Convolution> single_input_convolution(const ConvolutionProblem& problem);

/// oneDNN's kernels, our Winograd and our products of tiles, timed where `algorithms` is empty.
std::unique_ptr<Convolution> onednn_convolution(const ConvolutionProblem& problem,
                                                const std::string& algorithms);

/// Throws Error where the calling thread has other threads at work than the `planned` ones that a convolution's
/// memory, or what oneDNN has divided among them, is for.
void check_threads(const ConvolutionProblem& problem, int planned);

/// 16, 8 or 1: the widest block of channels oneDNN likes on this CPU.
int onednn_channel_block();

}  // namespace tvmap::cpu
