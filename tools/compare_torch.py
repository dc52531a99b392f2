#!/usr/bin/env python3
"""One measurement of PyTorch for tools/compare and tools/gpu-check, in a process of its own, as a line of JSON on
standard output.

    compare_torch.py versions [--device cuda]            PyTorch, its BLAS, threads; fails where it cannot use the device
    compare_torch.py inputs --image PNG --folder DIR     clean.npy, noisy.npy, lambda.npy from a picture
    compare_torch.py solver|search|network|step --form F --mode M …
                                                         seconds (each repetition) and memory; with --serve for each line of
                                                         standard input, until it ends (tools/compare_worker.py)
    compare_torch.py difference --files A.npy B.npy      ‖A − B‖₂/‖B‖₂
    compare_torch.py device-steps --form F --mode M --precisions … --batches …
                                                         whole training steps on a GPU, a line for each precision and batch
    compare_torch.py device-solver --folder DIR --form F --mode M
                                                         the solver alone on a GPU: solve, gradient, search, a line for each

Before anything is timed, the same code runs once with few iterations (libraries choose their kernels then, torch.compile
compiles) and, where more than one repetition is asked for, once in full.
"""
import argparse
import contextlib
import gc
import json
import os
import re
import sys
import time

import numpy
import torch

from compare_worker import answer, measure, median, timed
from reference_model import UNet, loss, map_from_raw, pdhg, pdhg_step

NOISE = 0.5  # standard deviation of the noise, relative to the image's own


def load(folder, name, dtype):
    values = numpy.load(os.path.join(folder, name + ".npy"))
    return torch.from_numpy(values).to(dtype)[None, None]


def maybe_compiled(options, function):
    return torch.compile(function) if options.mode == "compile" else function


def solver(options, z, clean):
    """x_T and the gradient of its mean squared error for the map."""
    lambda_ = load(options.folder, "lambda", z.dtype)
    solver_step = maybe_compiled(options, pdhg_step)

    def run(iterations=options.iterations):
        weighted = lambda_.clone().requires_grad_()
        loss("mse", pdhg(z, weighted, iterations, options.form, step=solver_step), clean).backward()
        return weighted.grad

    yield from measure(run, lambda: run(8), options.repeat, options.serve)
    if options.out:
        numpy.save(options.out, run()[0, 0].numpy().astype(numpy.float32))


@torch.no_grad()
def search(options, z, clean):
    """The best of `count` scalar parameters; only every `stride`-th is computed, the time is scaled up."""
    values = numpy.linspace(options.first, options.last, options.count)[::options.stride]
    scale = options.count / len(values)
    solver_step = maybe_compiled(options, pdhg_step)
    results = {}

    def run(iterations=options.iterations, some=values):
        for value in some:
            results[float(value)] = pdhg(z, torch.full_like(z, value), iterations, options.form, step=solver_step)

    for result in measure(run, lambda: run(8, values[:1]), options.repeat, options.serve):
        result["best"] = min(results, key=lambda value: loss("mse", results[value], clean).item())
        result["seconds"] *= scale
        result["all_seconds"] = [seconds * scale for seconds in result["all_seconds"]]
        result["computed_values"] = len(values)
        yield result


def squares(image, side, count):
    """A batch of squares, spread along the diagonal."""
    room = image.shape[-1] - side
    corners = [room * k // max(1, count - 1) for k in range(count)]
    return torch.cat([image[:, :, at:at + side, at:at + side] for at in corners]).contiguous()


def network(options, z, clean):
    """The U-Net and its map, forward and backward, without solver and optimiser, in the faster of PyTorch's orders of channels and
    pixels."""

    def prepared(memory_format):
        torch.manual_seed(42)
        net = UNet().to(z.dtype).to(memory_format=memory_format)
        forward, image = maybe_compiled(options, net), z.to(memory_format=memory_format)

        def run():
            net.zero_grad(set_to_none=True)
            loss("mse", map_from_raw(forward(image)), clean).backward()
        return run

    work = {name: prepared(getattr(torch, name)) for name in ("contiguous_format", "channels_last")}
    seconds = {}
    for name, run in work.items():
        run()
        seconds[name] = median([timed(run) for _ in range(3)])
    faster = min(seconds, key=seconds.get)
    for result in measure(work[faster], work[faster], options.repeat, options.serve):
        yield result | {"memory_format": faster, "seconds_by_format": seconds}


def step(options, z, clean):
    """A whole training step: network, map, solver, loss, gradients, Adam. On the image or, with --crop, a batch of squares."""
    torch.manual_seed(42)
    if options.crop:
        z, clean = (squares(image, options.crop, options.batch) for image in (z, clean))
    memory_format = getattr(torch, options.memory_format)
    net = UNet().to(z.dtype).to(memory_format=memory_format)
    image = z.to(memory_format=memory_format)
    forward, solver_step = maybe_compiled(options, net), maybe_compiled(options, pdhg_step)
    rounded = torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.network_precision == "bf16")  # the network alone, as ours
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)

    def run(iterations=options.iterations):
        optimiser.zero_grad()
        with rounded:
            raw = forward(image)
        lambda_ = map_from_raw(raw.to(z.dtype)).contiguous()
        loss("mse", pdhg(z, lambda_, iterations, options.form, step=solver_step), clean).backward()
        optimiser.step()

    yield from measure(run, lambda: run(8), options.repeat, options.serve)


def device_step(options, precision, batch):
    """The same on a GPU, on images that lie there: PyTorch's own way of being fast is taken throughout (cuDNN's search for
    algorithms, the fused Adam, no copies, nothing read back). mode is
        eager     as it is written
        compile   the network and one step of the solver by torch.compile, called T times
        whole     network, map and all T steps as one graph by torch.compile (which can take very long)
        graph     as it is written, the whole training step recorded as a CUDA graph and replayed"""
    cuda = options.device == "cuda"
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
    rounded = contextlib.nullcontext()
    if precision == "bf16":  # the network alone, as ours
        rounded = torch.autocast(options.device, dtype=torch.bfloat16)
    torch.manual_seed(42)
    target = torch.rand(batch, 1, options.size, options.size, device=options.device)
    z = target + 0.1 * torch.randn_like(target)
    net = UNet().to(options.device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4, **({"fused": True, "capturable": True} if cuda else {}))
    network, solver_step = net, pdhg_step
    if options.mode == "compile":
        network, solver_step = torch.compile(net), torch.compile(pdhg_step)

    def forward(noisy):
        with rounded:
            weights = network(noisy)
        return pdhg(noisy, map_from_raw(weights.float()), options.iterations, options.form, step=solver_step)

    if options.mode == "whole":
        forward = torch.compile(forward)

    def run():
        optimiser.zero_grad(set_to_none=True)
        loss("mse", forward(z), target).backward()
        optimiser.step()

    if options.mode == "graph":
        run = recorded(run)
    for _ in range(3):
        run()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = time_on_device(run, options.seconds, cuda)
    result = {"form": options.form, "mode": options.mode, "precision": precision, "batch": batch,
              "seconds": median(seconds), "all_seconds": seconds}
    if cuda:
        # (What a recorded graph keeps for its replays counts as reserved alone.)
        result |= {"peak_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.memory_reserved()}
    return result


def device_solver(options):
    """The solver alone on a GPU, on images that lie there: solve and search without gradients, the search with all its
    scalars as one batch. `mode` as above; compile: one step of the solver by torch.compile."""
    cuda = options.device == "cuda"
    z, clean, lambda_ = (load(options.folder, name, torch.float32).to(options.device) for name in ("noisy", "clean", "lambda"))
    scalars = torch.linspace(options.first, options.last, options.count, device=options.device)[:, None, None, None]
    solver_step = torch.compile(pdhg_step) if options.mode == "compile" else pdhg_step
    weighted = lambda_.clone().requires_grad_()

    def solved(noisy, weights):
        return pdhg(noisy, weights, options.iterations, options.form, step=solver_step)

    @torch.no_grad()
    def solve():
        solved(z, lambda_)

    def gradient():
        weighted.grad = None
        loss("mse", solved(z, weighted), clean).backward()

    @torch.no_grad()
    def search():
        x = solved(z.expand(options.count, -1, -1, -1), scalars.expand(-1, -1, *z.shape[-2:]))
        (x - clean).square().mean(dim=(1, 2, 3)).argmin()

    for run in (solve, gradient, search):
        name = run.__name__
        if options.mode == "graph":
            run = recorded(run)
        run()
        seconds = time_on_device(run, options.seconds, cuda)
        print(json.dumps({"task": name, "form": options.form, "mode": options.mode,
                          "seconds": median(seconds), "all_seconds": seconds}), flush=True)


def recorded(run):
    """A CUDA graph of run(), which has to have run before, on a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def time_on_device(run, seconds, cuda):
    """Times of one run among many queued back to back, by events on the GPU; at least ten, for some `seconds` in all."""
    if not cuda:
        return [timed(run)]
    begin = time.perf_counter()
    run()
    torch.cuda.synchronize()
    repeat = max(10, min(1000, int(seconds / (time.perf_counter() - begin))))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeat + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize()
    return [first.elapsed_time(second) * 1e-3 for first, second in zip(events, events[1:])]


def device_steps(options):
    """Prints each result when it is there, so that one that does not end takes no other with it."""
    for precision in options.precisions:
        for batch in options.batches:
            if hasattr(torch, "_dynamo"):
                torch._dynamo.reset()
            print(json.dumps(device_step(options, precision, batch)), flush=True)
            gc.collect()
            if options.device == "cuda":
                torch.cuda.empty_cache()


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
    mkl = re.search(r"Math Kernel Library Version ([\d.]+)", config)
    blas = " ".join(["MKL", *(mkl.groups() if mkl else [])]) if bundled else ", ".join(fast or named)
    capability = re.search(r"CPU capability usage: (\S+)", config)[1]
    return {"torch": torch.__version__, "onednn": onednn[1] if onednn else "unknown",
            "blas": blas, "blas_is_reference": not (bundled or fast), "cpu_capability": capability,
            "threads": torch.get_num_threads(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


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
parser.add_argument("task", choices=["versions", "inputs", "solver", "search", "network", "step", "difference",
                                     "device-steps", "device-solver"])
parser.add_argument("--files", nargs=2)
parser.add_argument("--form", default="roll")
parser.add_argument("--folder", default=".")
parser.add_argument("--image")
parser.add_argument("--out", help="where the solver's gradient goes")
parser.add_argument("--dtype", default="float32")
parser.add_argument("--mode", default="eager", choices=["eager", "compile", "whole", "graph"])
parser.add_argument("--device", choices=["cpu", "cuda"], help="cuda for device-steps and device-solver")
parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=["fp32", "tf32", "bf16"])
parser.add_argument("--network-precision", default="fp32", choices=["fp32", "bf16"], help="step: of the network")
parser.add_argument("--batches", nargs="+", type=int, default=[1])
parser.add_argument("--crop", type=int, default=0, help="step: squares of this side instead of the image")
parser.add_argument("--batch", type=int, default=1, help="step: how many of them")
parser.add_argument("--memory-format", default="contiguous_format", choices=["contiguous_format", "channels_last"],
                    help="step: of the network")
parser.add_argument("--size", type=int, default=256)
parser.add_argument("--seconds", type=float, default=2.0, help="measuring time of a step on a GPU")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--iterations", type=int, default=256)
parser.add_argument("--repeat", type=int, default=1)
parser.add_argument("--serve", action="store_true", help="measure for each line of standard input")
parser.add_argument("--first", type=float, default=0.0)
parser.add_argument("--last", type=float, default=0.8)
parser.add_argument("--count", type=int, default=81)
parser.add_argument("--stride", type=int, default=1)
arguments = parser.parse_args()
torch.set_num_threads(arguments.threads)
if arguments.task.startswith("device-"):
    arguments.device = arguments.device or "cuda"
if arguments.device == "cuda" and not torch.cuda.is_available():
    sys.exit("this PyTorch uses no GPU here")
if arguments.task.startswith("device-"):
    {"device-steps": device_steps, "device-solver": device_solver}[arguments.task](arguments)
    sys.exit()
if arguments.task == "versions":
    results = [versions()]
elif arguments.task == "inputs":
    results = [inputs(arguments.image, arguments.folder)]
elif arguments.task == "difference":
    results = [difference(*arguments.files)]
else:
    kind = getattr(torch, arguments.dtype)
    task = {"solver": solver, "search": search, "network": network, "step": step}[arguments.task]
    results = task(arguments, load(arguments.folder, "noisy", kind), load(arguments.folder, "clean", kind))
answer(results)
