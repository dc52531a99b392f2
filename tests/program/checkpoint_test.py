#!/usr/bin/env python3
"""Weights are used as they were trained or refused, whatever else differs is said and written down; every number in a
checkpoint is bounded; weights that are not finite are never saved. Needs Python's own library alone."""
import json
import math
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

PROGRAM = os.environ["TVMAP"]
CONFIG = """
data: {{train: {0}/images, val: {0}/images, test: {0}/images, size: 16, limit: {{train: 4, val: 2, test: 1}}}}
network: {{channels: [4, 4]}}
solver: {{iterations: 4}}
train: {{epochs: 1, batch: 2}}
evaluate: {{iterations: 4, search: {{count: 3}}}}
study: {{modes: [masks], iterations: [4], sizes: [16], images: 1, repeat: 1, reference_iterations: 0, steps: 0}}
"""
# What the weights depend on, each with another value that is possible.
OTHER = ("network.channels=[4,8]", "network.outputs=3", "network.slope=0.2", "map.kind=separate", "map.scale=0.2",
         "map.up_bound=0.5", "noise.relative_to=one", "solver.norm=4", "solver.tau=0.1", "solver.sigma=0.1", "solver.theta=0.5",
         "solver.dual_start=image", "solver.boundary=neumann", "solver.train_steps=shared")
failures = []


def check(condition, message):
    if not condition:
        failures.append(message)
        print("FAILED:", message)


def read_safetensors(path):
    """Header (with its metadata) and data."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:8 + length]), content[8 + length:]


def write_safetensors(path, header, data=b""):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Workshop:
    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "config.yaml"
        self.weights = folder / "run/checkpoints/last.safetensors"
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
        self.config.write_text(CONFIG.format(folder))
        self.works("phantoms", "--out", folder / "images", "--count", 4, "--size", 16)
        self.works("train", self.config, "--run", folder / "run")

    def run(self, command, *arguments):
        return subprocess.run([PROGRAM, command, *map(str, arguments), "--threads", "1"], env=self.environment, cwd=self.folder,
                              capture_output=True, text=True, timeout=120)

    def works(self, *arguments):
        result = self.run(*arguments)
        check(result.returncode == 0, f"{arguments}: exit {result.returncode}, {result.stderr}")
        return result.stdout

    def refuses(self, arguments, *parts):
        before = contents(self.folder)
        result = self.run(*arguments)
        what = f"{' '.join(map(str, arguments))}: exit {result.returncode}, {result.stderr!r}"
        check(result.returncode == 1 and result.stderr.count("\n") == 1, f"{what}; expected exit 1 and one line")
        for part in parts:
            check(str(part) in result.stderr, f"{what}; expected {part!r}")
        check(contents(self.folder) == before, f"{what}; files changed")
        return result.stderr

    def resume(self, *arguments, run="run"):
        return ("train", self.config, "--run", self.folder / run, "--resume", *arguments)


def what_weights_depend_on_must_agree(w):
    image = w.folder / "images/phantom_00000.png"
    for setting in OTHER:
        other = ("--set", setting)
        key = setting.partition("=")[0]
        w.refuses(("evaluate", w.folder / "run", *other, "--out", "new"), w.weights.parent, key)
        w.refuses(("evaluate", "--checkpoint", w.weights, "--config", w.config, *other, "--out", "new"), w.weights, key)
        w.refuses(("denoise", image, "--checkpoint", w.weights, *other, "--out", "new"), w.weights, key)
        w.refuses(w.resume(*other), w.weights, key)
        if not key.startswith("network."):  # the study's network is of its own trainings, the maps are the checkpoint's
            result = w.run("study", w.config, "--checkpoint", w.weights, *other, "--out", w.folder / "new_study")
            check(result.returncode == 1 and key in result.stderr and result.stderr.count("\n") == 1, f"study {setting}: {result}")
            shutil.rmtree(w.folder / "new_study", ignore_errors=True)


def what_merely_differs_is_said(w):
    said = "evaluate.iterations: 4 -> 6"
    other = ("--set", "evaluate.iterations=6")
    out = w.folder / "said"
    for run in ((w.folder / "run",), ("--checkpoint", w.weights, "--config", w.config)):
        text = w.works("evaluate", *run, *other, "--out", out)
        check(text.count(said) == 1, f"evaluate: {text}")
        check((out / "summary.txt").read_text().count(said) == 1, "summary.txt does not say what differs")
        check("iterations: 6" in (out / "config.yaml").read_text(), "the results do not hold their configuration")
        result = json.loads(w.works("evaluate", *run, *other, "--out", out, "--json"))
        check({"key": "evaluate.iterations", "trained": "4", "used": "6"} in result["differences"], f"evaluate --json: {result}")
    check("->" not in w.works("evaluate", w.folder / "run", "--out", out, "--device", "cpu"), "a difference where there is none")
    check("->" not in (out / "summary.txt").read_text(), "a difference in summary.txt where there is none")

    text = w.works("denoise", w.folder / "images/phantom_00000.png", "--checkpoint", w.weights, *other, "--out", out)
    check(said in text and said in (out / "settings.txt").read_text(), f"denoise: {text}")
    text = w.works("study", w.config, "--checkpoint", w.weights, *other, "--out", w.folder / "study")
    check(said in text and said in (w.folder / "study/summary.txt").read_text(), f"study: {text}")

    # Weights without a configuration are taken as they are, and that is said too.
    header, data = read_safetensors(w.weights)
    header["__metadata__"] = {"format": "pt"}
    write_safetensors(w.folder / "bare.safetensors", header, data)
    text = w.works("evaluate", "--checkpoint", w.folder / "bare.safetensors", "--config", w.config, "--out", out)
    check("no configuration" in text and "no configuration" in (out / "summary.txt").read_text(), f"bare weights: {text}")


def counters_are_bounded(w):
    header, data = read_safetensors(w.weights)
    impossible = {
        "epoch": ("1e300", "nan", "-1", "2147483647", "0.5", "", "1 ", "9999999999999999999999"),
        "step": ("1e300", "nan", "-1", "2", "3", "2147483648", "1"),
        "steps": ("1e300", "nan", "-2", "0", "3", "9223372036854775808"),
        "loss_sum": ("nan", "inf", "x"),
        "seconds": ("nan", "-1", "inf"),
        "best_psnr": ("nan", "inf", "x"),
        "best_epoch": ("2", "-1", "1e300", "nan"),
    }
    for name, values in impossible.items():
        for value in values:
            metadata = dict(header["__metadata__"], **{f"tvmap.{name}": value})
            write_safetensors(w.weights, dict(header, __metadata__=metadata), data)
            w.refuses(w.resume("--set", "train.epochs=3"), w.weights, f"tvmap.{name}")
    # A second moment below zero has no root.
    begin, end = header["optimiser.v.c1x1.bias"]["data_offsets"]
    write_safetensors(w.weights, header, data[:begin] + struct.pack("<f", -1) * ((end - begin) // 4) + data[end:])
    w.refuses(w.resume("--set", "train.epochs=3"), w.weights, "optimiser.v.c1x1.bias")
    write_safetensors(w.weights, header, data)
    w.works(*w.resume())


def weights_that_are_not_finite_are_not_saved(w):
    for rate in ("1e20", "1e38", "3e38"):
        for batch in (1, 2, 4):
            run = w.folder / f"rate_{rate}_{batch}"
            result = w.run("train", w.config, "--run", run, "--set", f"optimiser.rate={rate}", "--set", f"train.batch={batch}")
            check(result.returncode == 1 and result.stderr.count("not finite") == 1 and "optimiser.rate" in result.stderr,
                  f"rate {rate}, batch {batch}: {result}")
            for path in run.rglob("*.safetensors"):
                data = read_safetensors(path)[1]
                check(all(map(math.isfinite, struct.unpack(f"<{len(data) // 4}f", data))), f"{path} is not finite")
            check("nan" not in (run / "metrics.csv").read_text(), f"rate {rate}, batch {batch}: nan in metrics.csv")

    # Moments that the next step turns into infinite weights: the checkpoint before it is the last good one, by name.
    shutil.copytree(w.folder / "run", w.folder / "broken")
    weights = w.folder / "broken/checkpoints/last.safetensors"
    header, data = read_safetensors(weights)
    begin, end = header["optimiser.m.c1x1.bias"]["data_offsets"]
    write_safetensors(weights, header, data[:begin] + struct.pack("<f", 3e38) * ((end - begin) // 4) + data[end:])
    before = weights.read_bytes()
    result = w.run(*w.resume("--set", "train.epochs=3", run="broken"))
    check(result.returncode == 1 and "not finite" in result.stderr and f"{weights} (epoch 1" in result.stderr, f"broken: {result}")
    check(weights.read_bytes() == before, "the last good checkpoint is replaced")


def sizes_come_from_the_file(w):
    """A configuration that promises more than the file holds is refused by the file's name, before memory is taken."""
    header, data = read_safetensors(w.weights)
    yaml = header["__metadata__"]["tvmap.config"]
    image = w.folder / "images/phantom_00000.png"
    hostile = w.folder / "hostile.safetensors"
    changes = {
        "channels": (r"channels: \[4, 4\]", "channels: [2000000000, 2000000000]"),
        "many channels": (r"channels: \[4, 4\]", "channels: [65536, 65536, 65536]"),
        "few channels": (r"channels: \[4, 4\]", "channels: [4]"),
        "outputs": (r"outputs: 2", "outputs: 2147483647"),
        "steps": (r"(?s)iterations: 4(.*?)train_steps: none", r"iterations: 2000000000\1train_steps: per_step"),
    }
    for kind, (pattern, other) in changes.items():
        changed, count = re.subn(pattern, other, yaml, count=1)
        check(count == 1, f"{kind}: {yaml}")
        metadata = dict(header["__metadata__"], **{"tvmap.config": changed})
        for content in ((dict(header, __metadata__=metadata), data), ({"__metadata__": metadata}, b"")):
            write_safetensors(hostile, *content)
            for arguments in (("denoise", image, "--checkpoint", hostile, "--out", "new"),
                              ("study", w.config, "--checkpoint", hostile, "--out", "/proc/none")):
                said = w.refuses(arguments, hostile)
                check(not re.search(r"-\d{4}", said), f"{kind}: a size has overflowed: {said}")
    # Weights without a configuration, whose shapes are all that is known.
    empty = {name: {"dtype": "F32", "shape": [0, 1 << 62, 3, 3], "data_offsets": [0, 0]}
             for name in ("c0x0.conv_block.0.weight", "c1x1.weight")}
    write_safetensors(hostile, empty)
    w.refuses(("denoise", image, "--checkpoint", hostile, "--out", "new"), hostile)


with tempfile.TemporaryDirectory() as scratch:
    workshop = Workshop(pathlib.Path(scratch))
    for test in (what_weights_depend_on_must_agree, what_merely_differs_is_said, counters_are_bounded,
                 weights_that_are_not_finite_are_not_saved, sizes_come_from_the_file):
        if len(sys.argv) < 2 or test.__name__ in sys.argv[1:]:
            print(test.__name__)
            test(workshop)
sys.exit(f"{len(failures)} failures" if failures else 0)
