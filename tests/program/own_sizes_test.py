#!/usr/bin/env python3
"""Photographs at their own sizes: a training by crops, its evaluation at full size, and what is refused."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

TVMAP = os.environ["TVMAP"]
SIZES = [(40, 33), (24, 57), (31, 31), (64, 25)]  # rows and columns, of which none can be halved three times
CONFIG = """
data: {{train: {0}/images, val: {0}/images, test: {0}/images, prepare: none, size: 24}}
network: {{channels: [2, 4], initialisation: he, normalise: noise}}
map: {{scale: 1}}
solver: {{iterations: 4}}
train: {{epochs: 2, batch: 2, crop: 24, validate_every: 1}}
evaluate: {{iterations: 4, search: {{count: 3}}}}
"""


def tvmap(*arguments, code=0):
    done = subprocess.run([TVMAP, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != code:
        sys.exit(f"tvmap {' '.join(map(str, arguments))}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done.stdout if code == 0 else done.stderr


def write_pgm(path, rows, columns, seed):
    path.write_bytes(b"P5 %d %d 255\n" % (columns, rows) +
                     bytes((seed * 31 + i // columns * 5 + i % columns // 3 * 40) % 256 for i in range(rows * columns)))


def check(condition, what):
    if not condition:
        sys.exit(f"own_sizes_test: {what}")


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / "images").mkdir()
    for number, (rows, columns) in enumerate(SIZES):
        write_pgm(folder / f"images/{number}.pgm", rows, columns, number)
    (folder / "config.yaml").write_text(CONFIG.format(folder), encoding="utf-8")
    train = ["train", folder / "config.yaml", "--quiet"]

    tvmap(*train, "--run", folder / "run")
    tvmap("evaluate", folder / "run", "--quiet")
    table = (folder / "run/evaluation/per_image.csv").read_text(encoding="utf-8").splitlines()
    check(len(table) == 1 + len(SIZES), "not every image was evaluated")
    panel = (folder / "run/evaluation/images/1_clean.png").read_bytes()
    check((int.from_bytes(panel[20:24], "big"), int.from_bytes(panel[16:20], "big")) == SIZES[1], "a picture has lost its size")

    # Half the training, then the rest: the same weights as in one go, since each crop is a function of its step.
    tvmap(*train, "--run", folder / "halves", "--set", "train.epochs=1")
    tvmap(*train, "--run", folder / "halves", "--resume")
    best = [(folder / run / "checkpoints/last.safetensors").read_bytes() for run in ("run", "halves")]
    check(best[0][-2000:] == best[1][-2000:], "a training that was resumed has other weights")

    error = tvmap(*train, "--run", folder / "whole", "--set", "train.crop=0", code=1)
    check(error.count("\n") == 1 and "train.crop: images at their own sizes" in error, error)
    write_pgm(folder / "images/small.pgm", 30, 23, 0)
    error = tvmap(*train, "--run", folder / "small", code=1)
    check(error.count("\n") == 1 and "small.pgm: a picture of 30×23 pixels" in error and "at least 24" in error, error)
    check(not (folder / "small").exists(), "a refused training left a folder")

    # A network that gives the image itself goes the same way.
    (folder / "images/small.pgm").unlink()
    tvmap(*train, "--run", folder / "image", "--set", "network.output=image")
    result = json.loads(tvmap("evaluate", folder / "image", "--json"))
    check(result["images"] == len(SIZES), f"the result names other images: {result}")
    check(not list((folder / "image/evaluation/images").glob("*lambda*")), "a network without a map has written one")
    weights = folder / "image/checkpoints/best.safetensors"
    tvmap("denoise", folder / "images/1.pgm", "--checkpoint", weights, "--out", folder / "denoised", "--quiet")
    result = (folder / "denoised/1.png").read_bytes()
    check((int.from_bytes(result[20:24], "big"), int.from_bytes(result[16:20], "big")) == SIZES[1], "a result of another size")
    error = tvmap("denoise", folder / "images/1.pgm", "--checkpoint", weights, "--out", folder / "maps", "--map", code=2)
    check(error.count("\n") == 1 and "has no map: it was trained with network.output: image" in error, error)
