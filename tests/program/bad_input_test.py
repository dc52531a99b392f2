#!/usr/bin/env python3
"""The program and wrong input: every failure ends in its exit code, with one line on standard error that says what
and where, nothing on standard output, and no file half-written or left behind. Needs Python's own library alone."""
import json
import os
import re
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
skipped = []


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


def safetensors(tensors):
    """Tensors 1×12×16, or 1×2×12×16 for twice as many values."""
    header, data = {}, b""
    for name, values in tensors.items():
        begin = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        shape = [1, 12, 16] if len(values) == 192 else [1, 2, 12, 16]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


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


def start_working(arguments, folder):
    """Starts the program and waits until it catches Ctrl-C and has spent a tenth of a second of processor time."""
    process = subprocess.Popen([program, *arguments], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    limit = time.monotonic() + 60
    catches = spent = False
    while not (catches and spent) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
        status = Path(f"/proc/{process.pid}/status").read_text()
        catches = int(re.search(r"SigCgt:\s*([0-9a-f]+)", status)[1], 16) >> (signal.SIGINT - 1) & 1 == 1
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        spent = int(fields[11]) >= os.sysconf("SC_CLK_TCK") // 10
    check(catches and spent, f"tvmap {' '.join(arguments)}: not at work after a minute")
    return process


def interrupt(process):
    """Ctrl-C; returns all that is said."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[1] + "it went on for a minute"


def train_on_a_full_disk(folder):
    """A disk in memory, seen by this process alone, that has room for a run's first files but not for its checkpoints."""
    script = """mkdir -p disk && mount -t tmpfs -o size=96k none disk || exit 77
        "$@"; code=$?
        ls -A disk > left.txt; exit $code"""
    wide = "--set network.channels=[16,32]".split()
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        try:
            result = subprocess.run([*unshare, "sh", "-c", script, "sh", program, "train", "tiny.yaml", *wide, "--run",
                                     "disk/run", "--quiet"], cwd=folder, capture_output=True, text=True, timeout=120)
        except FileNotFoundError:
            break
        if (folder / "left.txt").exists():
            check(result.returncode == 1 and "left for it" in result.stderr and "disk/run" in result.stderr
                  and result.stderr.count("\n") == 1, f"full disk: {result}")
            check((folder / "left.txt").read_text() == "", "full disk: a run is begun")
            return
    skipped.append("a full disk while training (no mount namespace may be made here)")


with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as cache:
    folder = Path(name)
    os.environ["XDG_CACHE_HOME"] = cache  # where measured algorithms are kept
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
        "complex.npy": npy(image, (12, 8), "<c8"),
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
        "unset.yaml": b"seed: 1\n",
        "tiny.yaml": b"""data: {train: images, val: images, test: images, size: 32, limit: {train: 2, val: 1, test: 2}}
network: {channels: [4, 4]}
solver: {iterations: 8}
train: {epochs: 1}
evaluate: {iterations: 8, search: {count: 3}}
""",
        "nan_state.safetensors": safetensors({"x": [nan] * 192, "x_bar": [0.0] * 192, "p": [0.0] * 192, "q": [0.0] * 384}),
        "part_state.safetensors": safetensors({"x": [0.0] * 192, "x_bar": [0.0] * 192, "p": [0.0] * 192}),
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
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --norm=", "--norm")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --threads -1", "--threads")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --gap -1", "--gap")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --gap 1e-3 --repeat 2", "--repeat")
    refused(2, "solve image.npy --lambda 0.1 --out x.npy --device gpu", "--device")
    refused(2, "solve image.npy --lambda 0.1 --out x.jpg", ".npy, .png or .tif")
    refused(2, "solve stack.npy --lambda 0.1 --out x.png", "2 images")
    refused(2, "gradient image.npy --lambda 0.1 --target image.npy --out d.npy --mode magic", "--mode magic", "masks | checkpoint")
    refused(2, "gradient image.npy --lambda 0.1 --target image.npy --out d.png", ".npy")
    refused(2, "search image.npy --clean image.npy image.npy", "2 clean images for 1")
    refused(2, "search image.npy --clean image.npy --from 0.5 --to 0.1", "--from")
    refused(2, "search image.npy --clean image.npy --count 0", "--count")
    refused(2, "phantoms --out folder --count 0", "--count")
    refused(2, "bench --filter nothing_like_this", "nothing_like_this")
    refused(1, "solve image.npy --lambda 0.1 --out x.npy --device cuda", "cuda", "cpu")
    refused(1, "info --device cuda", "cuda")

    # Arrays and pictures.
    for file in ("missing.npy", "nan.npy", "infinite.npy", "cut.npy", "huge.npy", "empty.npy", "line.npy", "complex.npy",
                 "text.npy", "nothing.npy", "missing.png", "cut.png", "text.png", "folder"):
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
    # Messages name the options that were given, not the keys of a configuration.
    refused(1, solve + "0.1 --iterations 0", "solve: --iterations: 0")
    refused(1, solve + "0.1 --tau 5", "solve: --tau: ", "L²")
    refused(1, solve + "0.1 --norm 1", "solve: --norm: ", "L²")
    refused(1, solve + "0.1 --norm -3", "solve: --norm: ")
    refused(2, solve + "0.1 --sigma nan", "--sigma nan: give a number")
    refused(1, solve + "0.1 --theta 2", "solve: --theta: ")
    refused(1, "gradient image.npy --lambda 0.1 --target image.npy --out d.npy --tau 5", "gradient: --tau: ")
    refused(1, "gradient image.npy --lambda 0.1 --target image.npy --out d.npy --mode truncated:9 --iterations 8",
            "gradient: --mode: truncated:9")
    refused(1, "gradient image.npy --lambda 0.1 --target image.npy --out d.npy --mode implicit --implicit-cap 0",
            "gradient: --implicit-cap: 0 is too small")
    refused(1, "search image.npy --clean image.npy --iterations 0", "search: --iterations: 0")

    # States.
    refused(1, solve + "0.1 --state-in missing.safetensors", "missing.safetensors")
    refused(1, solve + "0.1 --state-in cut.safetensors", "cut.safetensors")
    refused(1, solve + "0.1 --state-in nan_state.safetensors", "nan_state.safetensors", "x: value number 0 is nan")
    refused(1, solve + "0.1 --state-in part_state.safetensors", "part_state.safetensors", "no tensor q")
    refused(1, "solve stack.npy --out x.npy --lambda 0.1 --state-in nan_state.safetensors", "1×12×16", "2×6×16")
    refused(1, solve + "0.1 --state-out image.npy/s.safetensors", "image.npy")
    refused(2, solve + "0.1 --state-out s.safetensors --repeat 2", "--repeat")

    # Inputs are looked at before an output's folder is made.
    refused(1, "solve nan.npy --lambda 0.1 --out new/x.npy", "nan.npy")
    refused(1, "solve image.npy --lambda -1 --out new/x.npy", "lambda")
    refused(1, "solve image.npy --lambda 0.1 --tau 5 --out new/x.npy", "--tau")
    refused(1, "gradient image.npy --lambda 0.1 --target small.npy --out new/d.npy --out-z new2/z.npy", "target")
    refused(1, "search image.npy image.npy --clean image.npy nan.npy --out new/s.csv", "nan.npy")

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
    refused(1, "train unset.yaml", "no image folder")
    for setting in ("noise.sigma=-0.1", "solver.iterations=0", "solver.iterations=many", "solver.tau=5", "data.size=33",
                    "train.epochs=[1,2]"):
        refused(1, ["train", "tiny.yaml", "--set", setting], f"--set {setting}", setting.split("=")[0])
    refused(1, "train tiny.yaml --set solver.iteratons=8", "solver.iteratons", "solver.iterations")

    # Folders of images.
    (folder / "images").mkdir()
    refused(1, "train tiny.yaml", "no pictures in ", "/images;")
    (folder / "images/a.png").write_bytes(png(32))
    (folder / "images/b.png").write_bytes(png(40))
    jpeg = (source / "tests/fixtures/image/grey.jpeg").read_bytes()
    (folder / "images/c.jpeg").write_bytes(jpeg[: len(jpeg) * 2 // 3])
    refused(1, "train tiny.yaml --set data.limit.train=3", "images/c.jpeg", "truncated")
    refused(1, "evaluate --checkpoint cut.safetensors --config tiny.yaml --set data.limit.test=3 --out new", "images/c.jpeg")
    (folder / "images/c.jpeg").unlink()
    refused(1, "train tiny.yaml --set data.limit.train=100 --set train.batch=3", "train.batch")
    for kind, side in (("thin", 4), ("twins", 32)):
        (folder / kind).mkdir()
        (folder / kind / "a.png").write_bytes(png(side))
    (folder / "twins/a.bmp").write_bytes(png(32))
    refused(1, "train tiny.yaml --set data.train=thin --set network.channels=[4,4,4,4]", "thin/a.png", "4×4", "at least 8")
    refused(1, "train tiny.yaml --set data.train=twins", "a.bmp and a.png")

    # Run folders.
    refused(1, "train tiny.yaml --run image.npy/run", "image.npy/run")
    refused(1, "train tiny.yaml --run /proc/run", "/proc/run")
    (folder / "cuda.yaml").write_bytes(b"device: cuda\n" + files["tiny.yaml"])
    refused(1, "train cuda.yaml", "cuda", "cpu")
    train_on_a_full_disk(folder)

    # Weights: of another network, truncated.
    result = run("train tiny.yaml --run run --quiet".split(), folder)
    check(result.returncode == 0, f"train tiny.yaml: {result}")
    weights = "run/checkpoints/last.safetensors"
    content = (folder / weights).read_bytes()
    (folder / "short.safetensors").write_bytes(content[: len(content) * 3 // 4])
    refused(1, "train tiny.yaml --run run", "run", "--resume")
    refused(1, "train tiny.yaml --run run --resume --set solver.iterations=9", weights, "solver.iterations: 8, not 9")
    other = "--set network.channels=[4,8]"
    refused(1, f"denoise picture.png --out new --checkpoint {weights} {other}", weights)
    refused(1, "denoise picture.png --out new --checkpoint short.safetensors", "short.safetensors")
    refused(1, f"evaluate --checkpoint {weights} --config tiny.yaml {other} --out new", weights)
    refused(1, "evaluate --checkpoint short.safetensors --config tiny.yaml --out new", "short.safetensors")
    refused(1, f"evaluate --checkpoint {weights} --config unset.yaml --out new", "data.test: no image folder")
    refused(1, f"evaluate --checkpoint {weights} --config no_data.yaml --out new", "data.test: ", "missing does not exist")
    refused(1, "evaluate run --set data.test=twins --out new", "data.test: ", "a.bmp and a.png")
    refused(1, "evaluate run --out image.npy/e", "image.npy/e")
    refused(1, "evaluate folder --out new", "folder", "no checkpoint")
    refused(2, "evaluate --out new", "run folder")

    # Results that would take each other's names, or an input's.
    (folder / "picture_lambda.png").write_bytes(png(16))
    denoise = f"denoise --checkpoint {weights} --map "
    refused(1, denoise + "picture.png picture_lambda.png --out new", "picture_lambda.png", "both")
    refused(1, denoise + "picture.png twins/a.png twins/a.bmp --out new", "twins/a.png", "twins/a.bmp", "both")
    refused(1, denoise + "picture.png --out .", "picture.png", "overwritten")
    refused(1, denoise + "picture.png --out folder/..", "picture.png", "overwritten")
    refused(1, denoise + "picture.png missing.png --out new", "missing.png")
    refused(1, denoise + "picture.png cut.png --out new", "cut.png", "truncated")
    refused(1, "denoise picture.png --out x --checkpoint missing.safetensors", "missing.safetensors")
    refused(1, "denoise picture.png --out x --checkpoint cut.safetensors", "cut.safetensors")
    refused(1, "denoise picture.png --out x --checkpoint huge.safetensors", "huge.safetensors")

    # What is right works, so that none of the above fails for want of something else.
    for arguments in ("solve image.npy --lambda 0.1 --out x.npy", "solve double.npy --lambda map.npy --out x.npy",
                      "solve picture.png --lambda 0.1 --lambda-y 0 --out x.png", "solve image.npy --lambda maps.npy --out x.npy",
                      "solve fortran.npy --lambda 0.1 --out x.npy", "solve stack.npy --lambda 0.1 --norm auto --boundary neumann --start image --out x.npy",
                      "gradient image.npy --lambda map.npy --target image.npy --out d.npy --out-z z.npy",
                      "search image.npy --clean map.npy --count 3 --out s.csv",
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

    # 100 steps and 156 from their state are 256 steps, to the bit.
    for arguments in ("--iterations 256 --out whole.npy --state-out whole.safetensors",
                      "--iterations 100 --out part.npy --state-out part.safetensors",
                      "--iterations 156 --state-in part.safetensors --out joined.npy --state-out joined.safetensors",
                      "--gap 1e-4 --state-in part.safetensors --out near.npy --state-out near.safetensors"):
        result = run(f"solve image.npy --lambda map.npy {arguments} --quiet".split(), folder)
        check(result.returncode == 0, f"solve {arguments}: {result}")
    check((folder / "whole.npy").read_bytes() != (folder / "part.npy").read_bytes(), "156 more steps change nothing")
    for kind in ("npy", "safetensors"):
        check((folder / f"whole.{kind}").read_bytes() == (folder / f"joined.{kind}").read_bytes(), f"state: another .{kind}")

    # Ctrl-C: exit code 130, and what was reached is written; code 1 where it cannot be.
    endless = "solve image.npy --lambda 0.1 --iterations 2000000000 --out "
    process = start_working((endless + "broken_off.npy --state-out broken_off.safetensors").split(), folder)
    said = interrupt(process)
    check(process.returncode == 130 and "interrupted after" in said, f"Ctrl-C: exit {process.returncode}, {said!r}")
    for kind in ("npy", "safetensors"):
        check((folder / f"broken_off.{kind}").exists(), f"Ctrl-C: no broken_off.{kind}")
    process = start_working((endless + "gone/x.npy").split(), folder)
    (folder / "gone").rmdir()
    said = interrupt(process)
    check(process.returncode == 1 and "gone/x.npy" in said, f"Ctrl-C, unsaved: exit {process.returncode}, {said!r}")

    # Standard output that is full.
    with open("/dev/full", "w") as full:
        result = subprocess.run([program, "info"], stdout=full, stderr=subprocess.PIPE, text=True)
    check(result.returncode == 1 and "standard output" in result.stderr, f"info > /dev/full: {result}")

for what in skipped:
    print("SKIPPED:", what)
print(f"{len(failures)} failures" if failures else "all refusals as they should be")
sys.exit(bool(failures))
