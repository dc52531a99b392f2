"""The reference experiment in plain PyTorch, to check and to time the engine against: the U-Net under the parameter
names of published checkpoints, the map, the unrolled primal-dual solver in two forms, the losses, and safetensors files.

Shapes: images N×1×H×W, maps N×1×H×W (shared) or N×2×H×W (separate: vertical, horizontal), duals N×2×H×W.
Gradients come from autograd through all T iterations. Works with PyTorch 1.13 and later.
"""
import json
import struct

import numpy
import torch
from torch import nn
from torch.nn import functional


class DoubleConv(nn.Module):
    """Twice: 3×3 convolution with zero padding and bias, leaky ReLU."""

    def __init__(self, inputs, outputs, slope):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(slope),
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.LeakyReLU(slope))

    def forward(self, x):
        return self.conv_block(x)


class Encoder(nn.Module):
    def __init__(self, inputs, outputs, slope):
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.double_conv = DoubleConv(inputs, outputs, slope)

    def forward(self, x):
        return self.double_conv(self.pool(x))


class Decoder(nn.Module):
    def __init__(self, inputs, outputs, slope):
        super().__init__()
        self.upsampling = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                                        nn.Conv2d(inputs, outputs, 1))
        self.double_conv = DoubleConv(2 * outputs, outputs, slope)

    def forward(self, x, skip):
        return self.double_conv(torch.cat([skip, self.upsampling(x)], dim=1))


class UNet(nn.Module):
    """1 → channels[0] → … → channels[-1] → … → channels[0] → outputs. PyTorch's own initialisation of a bias is the
    reference's for weights too: uniform ±1/√fan_in."""

    def __init__(self, channels=(32, 64, 128, 256), outputs=2, slope=0.01):
        super().__init__()
        steps = list(zip(channels[:-1], channels[1:]))
        self.c0x0 = DoubleConv(1, channels[0], slope)
        self.encoder = nn.ModuleList(Encoder(narrow, wide, slope) for narrow, wide in steps)
        self.decoder = nn.ModuleList(Decoder(wide, narrow, slope) for narrow, wide in reversed(steps))
        self.c1x1 = nn.Conv2d(channels[0], outputs, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                bound = layer.weight[0].numel() ** -0.5
                nn.init.uniform_(layer.weight, -bound, bound)
                nn.init.uniform_(layer.bias, -bound, bound)

    def forward(self, x):
        x = self.c0x0(x)
        skips = []
        for encoder in self.encoder:
            skips.append(x)
            x = encoder(x)
        for decoder in self.decoder:
            x = decoder(x, skips.pop())
        return self.c1x1(x)


def map_from_raw(raw, kind="shared", scale=0.1, up_bound=0.0):
    """Λ from the network's output; a shared map takes channel 0 alone."""
    raw = raw[:, :1] if kind == "shared" else raw[:, :2]
    return up_bound * torch.sigmoid(raw) if up_bound > 0 else scale * functional.softplus(raw)


class RollDifferences:
    """∇ and ∇ᵀ, periodic, by torch.roll."""
    components = 2

    def __init__(self, like):
        pass

    def forward(self, x):
        return torch.cat([torch.roll(x, -1, 2) - x, torch.roll(x, -1, 3) - x], dim=1)

    def transposed(self, q):
        vertical, horizontal = q[:, :1], q[:, 1:]
        return torch.roll(vertical, 1, 2) - vertical + torch.roll(horizontal, 1, 3) - horizontal


class ConvolutionDifferences:
    """The same by circular padding and a convolution with fixed kernels, in two dimensions."""
    components = 2

    def __init__(self, like):
        kernel = torch.zeros(2, 1, 3, 3, dtype=like.dtype, device=like.device)
        kernel[:, 0, 1, 1] = -1
        kernel[0, 0, 2, 1] = kernel[1, 0, 1, 2] = 1
        self.kernel, self.transposed_kernel = kernel, kernel.flip(2, 3).transpose(0, 1).contiguous()

    def forward(self, x):
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="circular"), self.kernel)

    def transposed(self, q):
        return functional.conv2d(functional.pad(q, (1, 1, 1, 1), mode="circular"), self.transposed_kernel)


class PublishedDifferences:
    """As the published code has them: in three dimensions, an image being a film of one time step. The third component
    is zero throughout, but is computed."""
    components = 3

    def __init__(self, like):
        kernel = torch.zeros(3, 1, 3, 3, 3, dtype=like.dtype, device=like.device)
        kernel[:, 0, 1, 1, 1] = -1
        kernel[0, 0, 2, 1, 1] = kernel[1, 0, 1, 2, 1] = kernel[2, 0, 1, 1, 2] = 1
        self.kernel, self.transposed_kernel = kernel, kernel.flip(2, 3, 4).transpose(0, 1).contiguous()

    @staticmethod
    def convolve(x, kernel):
        padded = functional.pad(x.unsqueeze(-1), (1, 1, 1, 1, 1, 1), mode="circular")
        return functional.conv3d(padded, kernel).squeeze(-1)

    def forward(self, x):
        return self.convolve(x, self.kernel)

    def transposed(self, q):
        return self.convolve(q, self.transposed_kernel)


DIFFERENCES = {"roll": RollDifferences, "convolution": ConvolutionDifferences,
               "published": PublishedDifferences}


def pdhg_step(difference, z, lower, upper, p, q, x, x_bar, tau, sigma, theta):
    """One primal-dual step; returns p, q, x, x̄."""
    p = (p + sigma * (x_bar - z)) / (1 + sigma)
    q = torch.clamp(q + sigma * difference.forward(x_bar), lower, upper)
    previous, x = x, x - tau * p - tau * difference.transposed(q)
    return p, q, x, x + theta * (x - previous)


def pdhg(z, lambda_, iterations, form="roll", dual_start="zero", tau=1 / 3, sigma=1 / 3, theta=1.0, step=pdhg_step):
    """x_T of min ½‖x − z‖² + ‖Λ∘∇x‖₁ after T primal-dual steps on K = [I, ∇]. lambda_: shared or separate map (the
    published form takes a shared one). step: pdhg_step, or a compiled one."""
    difference = DIFFERENCES[form](z)
    x = x_bar = z
    p = torch.zeros_like(z) if dual_start == "zero" else z
    q = z.new_zeros(z.shape[0], difference.components, *z.shape[2:])
    lower = -lambda_
    for _ in range(iterations):
        p, q, x, x_bar = step(difference, z, lower, lambda_, p, q, x, x_bar, tau, sigma, theta)
    return x


def loss(kind, x, target):
    """mse: the mean of the images' mean squared errors; log_mse: the mean of their logarithms."""
    mse = ((x - target) ** 2).mean(dim=(1, 2, 3))
    return {"mse": mse, "log_mse": torch.log(mse)}[kind].mean()


SAFETENSORS_TYPES = {"F32": numpy.float32, "F64": numpy.float64, "I64": numpy.int64}


def read_safetensors(path):
    """(name → array, metadata) of a file: 8 bytes of header length, JSON header, little-endian values."""
    with open(path, "rb") as file:
        content = file.read()
    start = 8 + struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = numpy.frombuffer(content[start + begin:start + end], SAFETENSORS_TYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).copy()
    return tensors, metadata


def write_safetensors(path, tensors, metadata=None):
    """Writes every tensor (PyTorch's or NumPy's) as F32."""
    header, blocks, offset = {"__metadata__": metadata or {}}, [], 0
    for name, tensor in tensors.items():
        values = numpy.asarray(tensor.detach() if torch.is_tensor(tensor) else tensor, dtype="<f4", order="C")
        header[name] = {"dtype": "F32", "shape": list(values.shape),
                        "data_offsets": [offset, offset + values.nbytes]}
        blocks.append(values.tobytes())
        offset += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blocks))
