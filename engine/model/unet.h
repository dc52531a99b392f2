// The U-Net that reads a noisy image and gives the raw output that the map Λ is made of.
//     double convolution: twice (3×3, bias, leaky ReLU)
//     c0x0: double convolution 1→C₀;  encoder.i: max pooling, double convolution C_i→C_{i+1}
//     decoder.i: linear upsampling ×2, 1×1 convolution to half the channels, [skip, upsampled],
//         double convolution;  c1x1: 1×1 convolution C₀→outputs
// The 1×1 convolution and the upsampling commute exactly (the interpolation's weights add up to 1), so the
// 1×1 goes first, on a quarter of the pixels. Parameter names are those of the reference's PyTorch model.
//
// network.initialisation: reference starts every weight and bias uniform in ±1/√fan_in, which shrinks what passes by
// some 0.4 at each layer. he starts weights uniform in ±√(6 / ((1 + slope²)·fan_in)), which keeps its mean square (He et
// al., Delving deep into rectifiers, ICCV 2015), biases at 0, and the last layer at 0: all of the map starts as one number.
// network.normalise: noise divides the image by σ̂ (kernels/layers/noise_level.h) and multiplies what the network makes
// of it by σ̂. Since x(c·z, c·Λ) = c·x(z, Λ), the whole then scales with its input.
// network.output: image takes the first channel of the raw output from the image, as a denoiser of its own.
#pragma once
#include "engine/config/config.h"
#include "engine/graph/graph.h"

namespace tvmap {

/// The block that every tensor of this network shares: the backend's where all channel counts are multiples
/// of it, else 1.
int network_block(const Backend& backend, const NetworkConfig& network);

/// A graph whose tensors lie in these blocks and are of the backend's element. Throws Error for bf16 where channels do not
/// lie in blocks.
Graph network_graph(const Backend& backend, const NetworkConfig& network);

/// Records the network on an N×1×H×W input; H and W must be divisible by 2^(levels − 1). Returns
/// N×outputs×H×W. With `window` (window_shape, kernels/layers/upsample.h) the images are windows of larger ones, which
/// begin at multiples of 2^(levels − 1), as their sizes are: the result is that of the larger image, as far as
/// receptive_field (engine/graph/receptive_field.h) reaches into the window.
Value record_unet(Graph& graph, const NetworkConfig& network, Value image, Value window = {});

/// A whole model: graph and the values that its user reads or fills.
struct RecordedModel {
    Graph graph;
    /// target and loss only when recorded for training, lambda where network.output is map
    Value noisy = {}, target = {}, lambda = {}, denoised = {}, loss = {};
    /// Where the model is for windows: see record_unet, and the level of the noise in the larger image.
    Value window = {}, level = {};
    Value weights = {};           ///< of the pixels of `noisy`, where the data term weighs
    std::vector<int> steps = {};  ///< the parameters of learned steps, if there are any
};

/// noisy → U-Net → Λ → solver → loss, for training on N images of H×W. `noisy` is what was observed, see Observed;
/// noisy and target are N·train.fed_images() images.
RecordedModel record_training_model(const Backend& backend, const Config& config, int n, int h, int w);

/// noisy → U-Net → Λ and, with iterations > 0, → solver, for use; Λ and the result are kept. Learned steps
/// are among the parameters in any case.
RecordedModel record_inference_model(const Backend& backend, const Config& config, int n, int h, int w,
                                     int iterations);

/// noisy → U-Net → Λ (or the denoised image) alone, for use, on one window of h×w of a larger image. The parameters are
/// those of the whole model.
RecordedModel record_window_model(const Backend& backend, const Config& config, int h, int w);

/// How often the network halves an image: sides must be multiples of 2 to this power.
inline int halvings(const NetworkConfig& network) { return int(network.channels.size()) - 1; }

}  // namespace tvmap
