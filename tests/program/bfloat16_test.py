#!/usr/bin/env python3
"""network.precision: bf16 on the CPU: refused by name where the processor, or what may be used of it, does not multiply bf16; else
trained in, alone and in parts, to the same bits again, and used. `tvmap info` says which."""
import json
import os
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from program import check, finish, png, refused, run  # noqa: E402

EXPERIMENT = """data: {train: images, val: images, test: images, size: 64, limit: {train: 8, val: 1, test: 2}}
network: {channels: [16, 32], precision: bf16}
solver: {iterations: 16}
train: {epochs: 2, batch: 4, crop: 32}
evaluate: {iterations: 16, search: {count: 3}}
"""
NEEDS = "network.precision: bf16 on the CPU needs avx512_bf16 or amx_bf16; this machine has, or is limited to, "


def result(arguments, folder, environment):
    done = run(f"{arguments} --device cpu --json --quiet", folder, env=environment)
    check(done.returncode == 0, f"tvmap {arguments}: exit {done.returncode}, {done.stderr!r}")
    return json.loads(done.stdout) if done.returncode == 0 else {}


def check_refusals(folder, environment, has_bf16, sets):
    train = "train experiment.yaml --device cpu"
    for limit, what in (("AVX2", "AVX2; "), ("SSE41", "less than AVX2; ")):
        refused(folder, 1, train, NEEDS + what, "use fp32", env=environment | {"ONEDNN_MAX_CPU_ISA": limit})
        info = result("info", folder, environment | {"ONEDNN_MAX_CPU_ISA": limit})
        check(info["bf16"] == "", f"info under {limit} says {info['bf16']!r}")
    # A build with the sanitizers has the best instruction set alone.
    if "AVX-512" in sets and run("info --isa avx2", folder, env=environment).returncode == 0:
        refused(folder, 1, f"{train} --isa avx2", NEEDS + "AVX2; ", env=environment)
    refused(folder, 1, f"{train} --set network.precision=tf32", "network.precision: tf32 needs device: cuda", env=environment)
    if not has_bf16:
        for command in (train, "bench --device cpu --precision bf16"):
            refused(folder, 1, command, NEEDS, env=environment)
        return
    refused(folder, 1, f"{train} --set network.channels=[16,24]", "network.channels that are all multiples of 16", env=environment)


def check_training(folder, environment):
    runs = {}
    # The first run times the algorithms.
    for name, more in (("timed", ""), ("one", ""), ("two", ""), ("wide", "--set network.precision=fp32"),
                       ("whole", "--set train.crop=0 --set train.batch=1")):
        runs[name] = result(f"train experiment.yaml --run {name} --threads 2 {more}", folder, environment)
    weights = {name: (folder / name / "checkpoints" / "last.safetensors").read_bytes() for name in runs}
    check(weights["one"] == weights["two"], "two runs in bf16 ended with other weights")
    check(weights["one"] != weights["wide"], "a run in bf16 ended with the weights of one in fp32")
    losses = {name: float((folder / name / "metrics.csv").read_text().splitlines()[-1].split(",")[2]) for name in runs}
    # The network's share of the loss is small at first, and bf16's rounding a hundredth of it.
    check(abs(losses["one"] / losses["wide"] - 1) < 1e-2, f"losses {losses}")
    check("bf16 by " in (folder / "one" / "log.txt").read_text(), "the log does not say bf16")
    for command in ("evaluate one", "denoise images/0.png --checkpoint one/checkpoints/last.safetensors --out denoised"):
        result(command, folder, environment)
    kernels = result("bench --precision bf16 --filter convolution --size 32 --seconds 0", folder, environment)["kernels"]
    used = " ".join(kernel["algorithm"] for kernel in kernels)
    # Whichever was fastest: oneDNN's of bf16, our tiles, or Winograd, which loads and stores bf16.
    check(re.search("bf16|amx_tiles|winograd", used), f"bench ran no algorithm of bf16: {used}")
    for kernel in kernels:
        of_tiles = all("amx" in algorithm for algorithm in kernel["algorithm"].split(","))
        check((kernel["arithmetic_peak"] == "bf16 in tiles") == of_tiles, f"bench measures {kernel} by the wrong peak")


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / "images").mkdir()
    for k in range(8):
        (folder / "images" / f"{k}.png").write_bytes(png(64, k + 1))
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ONEDNN", "DNNL"))}
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    info = result("info", folder, environment)
    check(info["bf16"] in ("", "avx512_bf16", "amx_bf16"), f"info says bf16 {info['bf16']!r}")
    check_refusals(folder, environment, info["bf16"] != "", info["instruction_set"])
    if info["bf16"]:
        check_training(folder, environment)
    print("bf16 " + (f"by {info['bf16']}: trained and refused" if info["bf16"] else "is not on this processor: refused"))
finish()
