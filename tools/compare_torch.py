#!/usr/bin/env python3
"""One measurement of PyTorch for tools/compare, in a process of its own, as a line of JSON on standard output.

    compare_torch.py versions                            PyTorch, its BLAS, threads
    compare_torch.py inputs --image PNG --folder DIR     clean.npy, noisy.npy, lambda.npy from a picture
    compare_torch.py solver|search|step --form F …       seconds (each repetition) and memory
    compare_torch.py difference --files A.npy B.npy      ‖A − B‖₂/‖B‖₂

Before anything is timed, the same code runs once with few iterations (libraries choose their kernels then) and, where more
than one repetition is asked for, once in full.
"""
import argparse
import json
import os
import re
import time

import numpy
import torch

from reference_model import UNet, loss, parameter_map, pdhg

NOISE = 0.5  # standard deviation of the noise, relative to the image's own


def resident(key):
    """A figure of /proc/self/status in bytes: VmRSS (now) or VmHWM (the peak so far)."""
    with open("/proc/self/status", encoding="ascii") as status:
        return int(re.search(rf"^{key}:\s*(\d+) kB", status.read(), re.MULTILINE)[1]) * 1024


def measure(run, warm_up, repeat):
    """Times run() `repeat` times; memory is the peak above what was resident before the first full run."""
    warm_up()
    start = resident("VmRSS")
    if repeat > 1:
        run()
    seconds = []
    for _ in range(repeat):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    peak = resident("VmHWM")
    return {"seconds": sorted(seconds)[len(seconds) // 2], "all_seconds": seconds,
            "peak_bytes_above_start": peak - start, "peak_bytes": peak}


def load(folder, name, dtype):
    values = numpy.load(os.path.join(folder, name + ".npy"))
    return torch.from_numpy(values).to(dtype)[None, None]


def solver(options, z, clean):
    """x_T and the gradient of its mean squared error for the map."""
    lambda_ = load(options.folder, "lambda", z.dtype)

    def run(iterations=options.iterations):
        weighted = lambda_.clone().requires_grad_()
        loss("mse", pdhg(z, weighted, iterations, options.form), clean).backward()
        return weighted.grad

    result = measure(run, lambda: run(8), options.repeat)
    if options.out:
        numpy.save(options.out, run()[0, 0].numpy().astype(numpy.float32))
    return result


@torch.no_grad()
def search(options, z, clean):
    """The best of `count` scalar parameters; only every `stride`-th is computed, the time is scaled up."""
    values = numpy.linspace(options.first, options.last, options.count)[::options.stride]

    results = {}

    def run(iterations=options.iterations, some=values):
        for value in some:
            results[float(value)] = pdhg(z, torch.full_like(z, value), iterations, options.form)

    result = measure(run, lambda: run(8, values[:1]), options.repeat)
    result["best"] = min(results, key=lambda value: loss("mse", results[value], clean).item())
    scale = options.count / len(values)
    result["seconds"] *= scale
    result["all_seconds"] = [seconds * scale for seconds in result["all_seconds"]]
    result["computed_values"] = len(values)
    return result


def step(options, z, clean):
    """A whole training step: network, map, solver, loss, gradients, Adam."""
    torch.manual_seed(42)
    net = UNet().to(z.dtype)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)

    def run(iterations=options.iterations):
        optimiser.zero_grad()
        loss("mse", pdhg(z, parameter_map(net(z)), iterations, options.form), clean).backward()
        optimiser.step()

    return measure(run, lambda: run(8), options.repeat)


def versions():
    """What serves matrix products is read from the libraries that the process has mapped."""
    torch.rand(64, 64) @ torch.rand(64, 64)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        libraries = sorted({os.path.realpath(line.split()[-1]) for line in maps if ".so" in line})
    named = [path for path in libraries if re.search(r"blas|mkl", os.path.basename(path))]
    fast = [path for path in named if re.search(r"openblas|mkl_|blis", path)]
    config = torch.__config__.show()
    bundled = "BLAS_INFO=mkl" in config
    onednn = re.search(r"MKL-DNN v([\d.]+)", config)
    return {"torch": torch.__version__, "onednn": onednn[1] if onednn else "unknown",
            "blas": "MKL" if bundled else ", ".join(fast or named), "blas_is_reference": not (bundled or fast),
            "threads": torch.get_num_threads()}


def inputs(image, folder):
    """The clean picture in [0, 1], a noisy one, and a smooth map around the best scalar parameter."""
    from PIL import Image
    clean = numpy.asarray(Image.open(image).convert("L"), numpy.float32) / 255
    noise = numpy.random.Generator(numpy.random.Philox(42)).standard_normal(clean.shape)
    noisy = clean + NOISE * clean.std(ddof=1) * noise
    rows, columns = numpy.mgrid[:clean.shape[0], :clean.shape[1]]
    lambda_ = 0.07 + 0.04 * numpy.sin(rows / 17) * numpy.cos(columns / 23)
    for name, values in (("clean", clean), ("noisy", noisy), ("lambda", lambda_)):
        numpy.save(os.path.join(folder, name + ".npy"), values.astype(numpy.float32))
    return {"height": clean.shape[0], "width": clean.shape[1]}


def difference(path, reference_path):
    values, reference = (numpy.load(name).astype(numpy.float64) for name in (path, reference_path))
    return {"relative": float(numpy.linalg.norm(values - reference) / numpy.linalg.norm(reference))}


parser = argparse.ArgumentParser(description="One measurement of PyTorch for tools/compare.")
parser.add_argument("task", choices=["versions", "inputs", "solver", "search", "step", "difference"])
parser.add_argument("--files", nargs=2)
parser.add_argument("--form", default="roll")
parser.add_argument("--folder", default=".")
parser.add_argument("--image")
parser.add_argument("--out", help="where the solver's gradient goes")
parser.add_argument("--dtype", default="float32")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--iterations", type=int, default=256)
parser.add_argument("--repeat", type=int, default=1)
parser.add_argument("--first", type=float, default=0.0)
parser.add_argument("--last", type=float, default=0.8)
parser.add_argument("--count", type=int, default=81)
parser.add_argument("--stride", type=int, default=1)
arguments = parser.parse_args()
torch.set_num_threads(arguments.threads)
if arguments.task == "versions":
    answer = versions()
elif arguments.task == "inputs":
    answer = inputs(arguments.image, arguments.folder)
elif arguments.task == "difference":
    answer = difference(*arguments.files)
else:
    kind = getattr(torch, arguments.dtype)
    task = {"solver": solver, "search": search, "step": step}[arguments.task]
    answer = task(arguments, load(arguments.folder, "noisy", kind), load(arguments.folder, "clean", kind))
print(json.dumps(answer))
