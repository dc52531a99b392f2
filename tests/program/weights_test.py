#!/usr/bin/env python3
"""Weights travel between the program and PyTorch: a trained checkpoint opens in the reference's U-Net, and PyTorch's weights
give the same map and the same image in the program. Skipped (exit 77) where no python3 imports PyTorch; the fixtures in
tests/fixtures check the same arithmetic without it.

TVMAP: the program; TVMAP_SOURCE: the source folder."""
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's PyTorch serves this one only
try:
    import numpy
    import torch
except ImportError:
    if sys.executable != SYSTEM_PYTHON and os.access(SYSTEM_PYTHON, os.X_OK):
        os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, __file__])
    print("SKIPPED: no python3 imports torch and numpy")
    sys.exit(77)

PROGRAM = os.environ["TVMAP"]
sys.path.insert(0, os.path.join(os.environ["TVMAP_SOURCE"], "tools"))
sys.dont_write_bytecode = True
from reference_model import UNet, map_from_raw, pdhg, read_safetensors, write_safetensors  # noqa: E402

CHANNELS = (4, 8, 16)
ITERATIONS = 32
failures = []


def check(holds, what):
    if not holds:
        failures.append(what)
        print(f"FAILED: {what}")


def tvmap(*arguments):
    command = [PROGRAM, *map(str, arguments), "--quiet", "--threads", "2", "--device", "cpu"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}")


def check_near(values, reference, tolerance, what):
    """‖a − b‖₂ ≤ tolerance·‖b‖₂, and says how much of the tolerance was used."""
    if values.shape != reference.shape:
        check(False, f"{what}: shape {values.shape} where {reference.shape} is expected")
        return
    difference = numpy.linalg.norm(values.astype(numpy.float64) - reference) / numpy.linalg.norm(reference)
    print(f"{what}: {difference:.1e} of {tolerance:.0e}")
    check(difference <= tolerance, f"{what} differs from PyTorch's")


def write_png(path, values):
    """Sixteen-bit grey from an H×W array of integers."""
    def chunk(kind, content):
        return (struct.pack(">I", len(content)) + kind + content
                + struct.pack(">I", zlib.crc32(kind + content)))
    height, width = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def denoised_by_torch(weights, noisy):
    """(Λ, x_T) in double precision."""
    net = UNet(CHANNELS).double()
    net.load_state_dict({name: torch.from_numpy(value).double() for name, value in weights.items()})
    with torch.no_grad():
        z = torch.from_numpy(noisy).double()[None, None]
        lambda_ = map_from_raw(net(z))
        return lambda_[0, 0].numpy(), pdhg(z, lambda_, ITERATIONS)[0, 0].numpy()


def check_denoise(folder, name, checkpoint, options, weights, picture):
    """The program's map, and its solver on that map, against PyTorch's; returns what the program wrote."""
    out = folder / name
    image = folder / "image.png"
    write_png(image, picture)
    tvmap("denoise", image, "--checkpoint", checkpoint, "--out", out, "--map", *options)
    map_file, x_file = out / "image_lambda.npy", out / "x.npy"
    tvmap("solve", image, "--lambda", map_file, "--iterations", ITERATIONS, "--out", x_file)
    lambda_, x = denoised_by_torch(weights, picture.astype(numpy.float32) / numpy.float32(65535))
    # Some ten layers in single precision, Winograd's among them with up to 5e-6 each.
    check_near(numpy.load(map_file), lambda_, 1e-5, f"map, {name} weights")
    # The solver damps errors of the map (some 0.07) and adds a rounding of 1e-7 or so a step.
    check_near(numpy.load(x_file), x, 1e-5, f"image, {name} weights")
    return [(out / written).read_bytes() for written in ("image.png", "image_lambda.npy")]


def main(folder):
    names = {name: weight.shape for name, weight in UNet(CHANNELS).state_dict().items()}
    images = folder / "images"
    tvmap("phantoms", "--out", images, "--count", 2, "--seed", 5, "--size", 32)
    settings = [f"data.{part}={images}" for part in ("train", "val", "test")]
    settings += ["data.size=32", "data.limit.train=2", "data.limit.val=1", "data.limit.test=1",
                 f"network.channels=[{','.join(map(str, CHANNELS))}]", f"solver.iterations={ITERATIONS}",
                 f"evaluate.iterations={ITERATIONS}", "train.epochs=1"]
    config = pathlib.Path(os.environ["TVMAP_SOURCE"], "configs", "chest_xray.yaml")
    overrides = [part for setting in settings for part in ("--set", setting)]
    tvmap("train", config, "--run", folder / "run", *overrides)

    # A trained checkpoint: every parameter of the reference under its name and shape (Adam's moments lie beside them).
    checkpoint = folder / "run" / "checkpoints" / "last.safetensors"
    stored, _ = read_safetensors(checkpoint)
    for name, shape in names.items():
        check(name in stored and stored[name].shape == tuple(shape), f"{name} is not in the checkpoint as {shape}")
    trained = {name: stored[name] for name in names}
    picture = numpy.random.default_rng(3).integers(0, 65536, (32, 48))
    check_denoise(folder, "trained", checkpoint, [], trained, picture)

    # PyTorch's weights, as four-dimensional tensors and with the published trailing axis.
    torch.manual_seed(7)
    weights = {name: value.numpy() for name, value in UNet(CHANNELS).state_dict().items()}
    write_safetensors(folder / "flat.safetensors", weights, {"format": "pt"})
    write_safetensors(folder / "deep.safetensors",
                      {name: value[..., None] if value.ndim == 4 else value for name, value in weights.items()})
    short = ["--set", f"evaluate.iterations={ITERATIONS}"]
    flat = check_denoise(folder, "flat", folder / "flat.safetensors", short, weights, picture)
    deep = check_denoise(folder, "deep", folder / "deep.safetensors", short, weights, picture)
    check(flat == deep, "four- and five-dimensional weights give different results")


with tempfile.TemporaryDirectory() as scratch:
    main(pathlib.Path(scratch))
if failures:
    sys.exit(f"{len(failures)} failed")
print("weights agree with PyTorch")
