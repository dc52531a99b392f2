#!/usr/bin/env python3
"""The program and wrong input: every failure ends in its exit code, with one line on standard error that says what
and where, nothing on standard output, and no file half-written or left behind. Needs Python's own library alone."""
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

program = os.environ["TVMAP"]
source = Path(os.environ["TVMAP_SOURCE"])
failures = []


def npy(values, shape, descr="<f4", cut=0, order="False"):
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    data = struct.pack(f"<{len(values)}{'d' if descr == '<f8' else 'f'}", *values)
    whole = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data
    return whole[: len(whole) - cut]


def png(side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + bytes((i * j) % 256 for j in range(side)) for i in range(side))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def run(arguments, folder, **how):
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, **how)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def check(condition, message):
    if not condition:
        failures.append(message)
        print("FAILED:", message)


def refused(code, arguments, *parts):
    """The program must end with `code`, say each of `parts` in one line, and change nothing."""
    arguments = arguments.split() if isinstance(arguments, str) else arguments
    before = contents(folder)
    result = run(arguments, folder)
    what = f"tvmap {' '.join(arguments)}: exit {result.returncode}, {result.stderr!r}"
    check(result.returncode == code, f"{what}; expected exit {code}")
    check(result.stderr.startswith("tvmap") and result.stderr.count("\n") == 1, f"{what}; expected one line")
    check(result.stdout == "", f"{what}; standard output: {result.stdout!r}")
    for part in parts:
        check(part in result.stderr, f"{what}; expected {part!r}")
    check(contents(folder) == before, f"{what}; files changed: {set(contents(folder)) ^ set(before)}")


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    image = [0.1 * (i % 7) for i in range(12 * 16)]
    nan, infinite = float("nan"), float("inf")
    files = {
        "image.npy": npy(image, (12, 16)),
        "stack.npy": npy(image, (2, 6, 16)),
        "double.npy": npy(image, (12, 16), "<f8"),
        "map.npy": npy([0.1] * 192, (12, 16)),
        "maps.npy": npy([0.1] * 384, (2, 12, 16)),
        "small.npy": npy([0.1] * 12, (3, 4)),
        "negative.npy": npy([0.1] * 191 + [-0.1], (12, 16)),
        "nan.npy": npy(image[:-1] + [nan], (12, 16)),
        "infinite.npy": npy(image[:-1] + [infinite], (12, 16)),
        "cut.npy": npy(image, (12, 16), cut=4),
        "huge.npy": npy(image, (1000000, 1000000)),
        "empty.npy": npy([], (0, 16)),
        "line.npy": npy(image, (192,)),
        "fortran.npy": npy(image, (12, 16), order="True"),
        "integers.npy": npy(image, (12, 16), "<i4"),
        "text.npy": b"not an array",
        "nothing.npy": b"",
        "picture.png": png(16),
        "cut.png": png(64)[:60],
        "text.png": b"not a picture",
        "out.npy": b"kept",
        "unknown.yaml": b"seed: 1\nsolver:\n    iteration: 8\n",
        "impossible.yaml": b"solver: {tau: 5}\n",
        "broken.yaml": b"solver: {tau: 5\n",
        "twice.yaml": b"seed: 1\nseed: 2\n",
        "no_data.yaml": b"data: {train: missing, val: missing, test: missing}\n",
        "cut.safetensors": b"\x40\x00\x00\x00\x00\x00\x00\x00{",
        "huge.safetensors": b"\xff" * 8 + b"{}",
    }
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "folder.npy").mkdir()

    # The command line.
    refused(2, "", "--help")
    refused(2, "slove image.npy", "slove", "solve", "--help")
    refused(2, "solve", "required")
    refused(2, "solve image.npy --out x.npy", "--lambda is required")
    refused(2, "solve image.npy --lambda 0.1", "--out is required")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --iteration 3", "--iteration")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --iterations many", "many")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --start p", "--start")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --norm big", "--norm big")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --threads -1", "--threads")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --gap -1", "--gap")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --gap 1e-3 --repeat 2", "--repeat")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --device gpu", "--device")
    refused(2, "solve image.npy --lambda 0.1 --out x.tif", ".npy or .png")
    refused(2, "solve stack.npy --lambda 0.1 --out x.png", "2 images")
    refused(2, "gradient image.npy --lambda 0.1 --target image.npy --out d.npy --mode magic", "masks")
    refused(2, "gradient image.npy --lambda 0.1 --target image.npy --out d.png", ".npy")
    refused(2, "search image.npy --clean image.npy image.npy", "2 clean images for 1")
    refused(2, "search image.npy --clean image.npy --from 0.5 --to 0.1", "--from")
    refused(2, "search image.npy --clean image.npy --count 0", "--count")
    refused(2, "phantoms --out folder --count 0", "--count")
    refused(2, "bench --filter nothing_like_this", "nothing_like_this")
    refused(1, "solve image.npy --lambda 0.1 --out x.npy --device cuda", "cuda", "cpu")
    refused(1, "info --device cuda", "cuda")

    # Arrays and pictures.
    for file in ("missing.npy", "nan.npy", "infinite.npy", "cut.npy", "huge.npy", "empty.npy", "line.npy", "fortran.npy",
                 "integers.npy", "text.npy", "nothing.npy", "missing.png", "cut.png", "text.png", "folder"):
        refused(1, f"solve {file} --lambda 0.1 --out x.npy", file)
    refused(1, "gradient image.npy --lambda 0.1 --target small.npy --out d.npy", "target", "3×4")
    refused(1, "search image.npy --clean small.npy", "small.npy")

    # Parameters.
    solve = "solve image.npy --out x.npy --lambda "
    refused(1, solve + "-0.1", "-0.1")
    refused(1, solve + "nan", "lambda")
    refused(1, solve + "inf", "lambda")
    refused(1, solve + "0.1x", "0.1x", "number")
    refused(1, solve + "missing.npy", "missing.npy")
    refused(1, solve + "picture.png", "picture.png", ".npy")
    refused(1, solve + "small.npy", "small.npy", "3×4", "12×16")
    refused(1, solve + "negative.npy", "-0.1")
    refused(1, solve + "nan.npy", "nan.npy")
    refused(1, solve + "maps.npy --lambda-y 0.1", "maps.npy")
    refused(1, solve + "0.1 --lambda-y small.npy", "small.npy")
    refused(1, solve + "0.1 --iterations 0", "iterations")
    refused(1, solve + "0.1 --tau 5", "tau", "L²")
    refused(1, solve + "0.1 --norm 1", "norm", "L²")
    refused(1, solve + "0.1 --norm -3", "norm")
    refused(1, solve + "0.1 --sigma nan", "sigma")
    refused(1, solve + "0.1 --theta 2", "theta")

    # Outputs that cannot be written are found before the work: these steps would take hours.
    long = "--lambda 0.1 --iterations 1000000000 --out "
    refused(1, "solve image.npy " + long + "folder.npy", "folder.npy", "it is a folder")
    refused(1, "solve image.npy " + long + "image.npy/x.npy", "image.npy")
    refused(1, "solve image.npy " + long + "x.npy --trace image.npy/t.csv", "image.npy")
    refused(1, "search image.npy --clean image.npy --iterations 1000000000 --out image.npy/s.csv", "image.npy")
    refused(1, "phantoms --count 100000 --out image.npy/f", "image.npy")
    # A failure leaves an earlier result alone.
    refused(1, "solve nan.npy --lambda 0.1 --out out.npy", "nan.npy")

    # Experiments and weights.
    refused(1, "train unknown.yaml", "unknown.yaml:3", "solver.iteration", "solver.iterations")
    refused(1, "train impossible.yaml", "impossible.yaml:1", "solver.tau")
    refused(1, "train broken.yaml", "broken.yaml:", "YAML")
    refused(1, "train twice.yaml", "twice.yaml:2", "seed", "twice")
    refused(1, "train missing.yaml", "missing.yaml")
    refused(1, "train no_data.yaml", "missing")
    refused(1, "train no_data.yaml --set train.batch=0", "--set train.batch=0", "train.batch")
    refused(1, "denoise picture.png --out x --checkpoint missing.safetensors", "missing.safetensors")
    refused(1, "denoise picture.png --out x --checkpoint cut.safetensors", "cut.safetensors")
    refused(1, "denoise picture.png --out x --checkpoint huge.safetensors", "huge.safetensors")

    # What is right works, so that none of the above fails for want of something else.
    for arguments in ("solve image.npy --lambda 0.1 --out x.npy", "solve double.npy --lambda map.npy --out x.npy",
                      "solve picture.png --lambda 0.1 --lambda-y 0 --out x.png", "solve image.npy --lambda maps.npy --out x.npy",
                      "solve stack.npy --lambda 0.1 --norm auto --boundary neumann --start image --out x.npy",
                      "gradient image.npy --lambda map.npy --target image.npy --out d.npy --out-z z.npy",
                      "search image.npy --clean image.npy --count 3 --out s.csv",
                      "phantoms --out phantoms --count 2 --size 32", "info"):
        result = run([*arguments.split(), "--json", "--quiet"], folder)
        check(result.returncode == 0, f"tvmap {arguments}: exit {result.returncode}, {result.stderr!r}")
        check(result.stderr == "", f"tvmap {arguments} --quiet: {result.stderr!r}")
        try:
            json.loads(result.stdout)
        except ValueError:
            check(False, f"tvmap {arguments} --json: not JSON: {result.stdout!r}")
    for command in ("train", "evaluate", "denoise", "solve", "search", "gradient", "phantoms", "bench", "info"):
        result = run([command, "--help"], folder)
        check(result.returncode == 0 and "Example:" in result.stdout, f"tvmap {command} --help: no example")

    # A gap that is not reached: exit code 3, and the best iterate is written.
    result = run("solve image.npy --lambda 0.1 --gap 1e-30 --iterations 64 --out best.npy --json".split(), folder)
    check(result.returncode == 3 and json.loads(result.stdout)["reached"] is False, f"gap not reached: {result}")
    check((folder / "best.npy").stat().st_size > 192 * 4, "gap not reached: no best iterate")

    # Ctrl-C: exit code 130, and what was reached is written. The ready signal is the handler's installation, which
    # comes before the work; half a second is ample for it.
    process = subprocess.Popen([program, *"solve image.npy --lambda 0.1 --iterations 2000000000 --out broken_off.npy".split()],
                               cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    try:
        _, message = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        message = "it went on for a minute"
    check(process.returncode == 130, f"Ctrl-C: exit {process.returncode}, {message!r}")
    check((folder / "broken_off.npy").exists(), "Ctrl-C: nothing was written")

    # Standard output that is full.
    with open("/dev/full", "w") as full:
        result = subprocess.run([program, "info"], stdout=full, stderr=subprocess.PIPE, text=True)
    check(result.returncode == 1 and "standard output" in result.stderr, f"info > /dev/full: {result}")

print(f"{len(failures)} failures" if failures else "all refusals as they should be")
sys.exit(bool(failures))
