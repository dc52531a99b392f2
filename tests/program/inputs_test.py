#!/usr/bin/env python3
"""What the commands take: arrays of another range than 0 to 1, pictures from pipes, pictures that would need more
memory than allowed; and the results of one picture, which appear together or not at all."""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from pathlib import Path

PROGRAM = os.environ["TVMAP"]
TINY = """
data: {train: images, val: images, test: images, size: 16, limit: {train: 1, val: 1, test: 1}}
network: {channels: [4, 4]}
solver: {iterations: 8}
train: {epochs: 1}
evaluate: {iterations: 8, search: {count: 3}}
"""
SIDE = 16


def npy(values):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({SIDE}, {SIDE}), }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack(f"<{len(values)}f", *values)


def read_npy(path):
    content = path.read_bytes()
    data = content[10 + struct.unpack("<H", content[8:10])[0]:]
    return struct.unpack(f"<{len(data) // 4}f", data)


def png(rows, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def run(folder, *arguments, **how):
    return subprocess.run([PROGRAM, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120, **how)


def succeeds(folder, *arguments, **how):
    result = run(folder, *arguments, **how)
    assert result.returncode == 0, (arguments, result)
    return result


def refused(folder, code, parts, *arguments, **how):
    result = run(folder, *arguments, **how)
    assert result.returncode == code and result.stderr.count("\n") == 1, (arguments, result)
    assert all(part in result.stderr for part in parts), (arguments, parts, result)


def near(a, b, share):
    return len(a) == len(b) and all(abs(x - y) <= share * max(map(abs, b)) for x, y in zip(a, b))


def of_another_range(folder):
    """Dividing by 255 rounds once in 32 bits; the solver's steps then differ by their rounding."""
    rounding = 1e-5
    search = ["search", "noisy255.npy", "--clean", "clean255.npy", "--count", 5, "--json"]
    said = succeeds(folder, *search)
    assert "noisy255.npy" in said.stderr and "clean255.npy" in said.stderr and "--peak" in said.stderr, said
    with_peak = succeeds(folder, *search, "--peak", 255)
    plain = succeeds(folder, "search", "noisy.npy", "--clean", "clean.npy", "--count", 5, "--json")
    assert with_peak.stderr == plain.stderr == "", (with_peak, plain)
    with_peak, plain = (json.loads(s.stdout)["images"][0] for s in (with_peak, plain))
    for measure in ("psnr", "ssim_gaussian", "ssim_uniform"):
        assert near([with_peak[measure]["best"]], [plain[measure]["best"]], rounding), (with_peak, plain)
        assert with_peak[measure]["lambda"] == plain[measure]["lambda"], (with_peak, plain)

    solve = ["--lambda", 0.1, "--iterations", 64, "--quiet"]
    said = succeeds(folder, "solve", "noisy255.npy", *solve, "--out", "unsaid.npy")
    assert "noisy255.npy" in said.stderr and "--peak" in said.stderr and said.stderr.count("\n") == 1, said
    for ending in ("npy", "png"):
        said = succeeds(folder, "solve", "noisy255.npy", *solve, "--out", f"a.{ending}", "--peak", 255)
        assert said.stderr == "", said
        assert succeeds(folder, "solve", "noisy.npy", *solve, "--out", f"b.{ending}").stderr == ""
    assert near(read_npy(folder / "a.npy"), [255 * x for x in read_npy(folder / "b.npy")], rounding)
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    assert succeeds(folder, "solve", "noisy255.npy", *solve, "--out", "c.npy", "--peak", 1).stderr == ""  # as asked

    gradient = ["gradient", "noisy255.npy", "--lambda", 0.1, "--target", "clean255.npy", "--iterations", 64, "--json"]
    said = succeeds(folder, *gradient, "--out", "d.npy")
    assert "--peak" in said.stderr and "noisy255.npy" in said.stderr and said.stderr.count("\n") == 2, said
    with_peak = json.loads(succeeds(folder, *gradient, "--out", "d.npy", "--peak", 255).stdout)["mse"]
    gradient[1], gradient[5] = "noisy.npy", "clean.npy"
    assert near([with_peak], [json.loads(succeeds(folder, *gradient, "--out", "d.npy").stdout)["mse"]], rounding)
    for peak in ("0", "-1", "nan", "inf", "white"):
        refused(folder, 2, ["--peak"], "solve", "noisy.npy", "--lambda", 0.1, "--out", "x.npy", "--peak", peak)


def from_pipes(folder):
    picture = (folder / "images/a.png").read_bytes()

    def piped(*arguments):
        """The program with PIPE in its arguments replaced by a pipe that gives the picture once."""
        reading, writing = os.pipe()

        def give():
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(picture)

        thread = threading.Thread(target=give)
        thread.start()
        try:
            return succeeds(folder, *(f"/dev/fd/{reading}" if a == "PIPE" else a for a in arguments), pass_fds=[reading])
        finally:
            os.close(reading)
            thread.join()

    piped("solve", "PIPE", "--lambda", 0.1, "--out", "piped.npy")
    said = json.loads(piped("search", "PIPE", "--clean", "images/a.png", "--count", 3, "--json").stdout)
    assert len(said["images"]) == 1, said
    piped("search", "images/a.png", "--clean", "PIPE", "--count", 3)
    weights = ["--checkpoint", "run/checkpoints/last.safetensors"]
    piped("denoise", "images/a.png", "PIPE", *weights, "--out", "denoised", "--map")
    made = sorted(path.name for path in (folder / "denoised").iterdir())
    assert len(made) == 6, made
    number = [name for name in made if re.fullmatch(r"\d+\.png", name)][0]
    assert (folder / "denoised" / number).read_bytes() == (folder / "denoised/a.png").read_bytes()


def within_the_limit(folder):
    """36 MB of samples in 35 kB."""
    side = 6000
    squeeze = zlib.compressobj(9)
    (folder / "large.png").write_bytes(png(squeeze.compress(bytes((side + 1) * side)) + squeeze.flush(), side))
    solve = ["solve", "large.png", "--lambda", 0.1, "--iterations", 1, "--out", "x.npy", "--picture-limit"]

    def memory_of(*arguments):
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], cwd=folder, stderr=subprocess.PIPE, text=True)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        return os.waitstatus_to_exitcode(status), said, usage.ru_maxrss  # kB

    code, said, program = memory_of("solve", "images/a.png", "--lambda", 0.1, "--iterations", 1, "--out", "x.npy")
    assert code == 0, said
    for limit in ("100000000", "50MB", "1MiB"):
        code, said, memory = memory_of(*solve, limit)
        assert code == 1 and "large.png" in said and "--picture-limit" in said, said
        assert memory < program + 100000 * 9 / 8, (program, memory)  # an eighth: the address sanitizer's shadow
    (folder / "large").mkdir()
    (folder / "large.png").rename(folder / "large/a.png")
    for setting in ("data.train=large", "data.val=large"):
        refused(folder, 1, ["large/a.png", "data.picture_limit", "20000000"], "train", "tiny.yaml", "--run", "none", "--set",
                setting, "--set", "data.picture_limit=20MB")
    refused(folder, 1, ["large/a.png", "20000000"], "denoise", "large/a.png", "--checkpoint",
            "run/checkpoints/last.safetensors", "--out", "none", "--set", "data.picture_limit=20MB")
    assert not (folder / "none").exists()


def together(folder):
    """A name that leaves no room for _lambda.npy behind it; a result whose name is taken by a folder."""
    name = "x" * 245 + ".png"
    (folder / name).write_bytes((folder / "images/a.png").read_bytes())
    weights = ["--checkpoint", "run/checkpoints/last.safetensors", "--quiet"]
    refused(folder, 1, ["x" * 200], "denoise", name, *weights, "--out", "long", "--map")
    assert not list((folder / "long").glob("*")), list((folder / "long").glob("*"))
    for taken in ("a_lambda.npy", "a_lambda.png", "a.png"):
        out = folder / f"taken_{taken}"
        (out / taken).mkdir(parents=True)
        refused(folder, 1, [taken], "denoise", "images/a.png", *weights, "--out", out, "--map")
        assert [path.name for path in out.iterdir()] == [taken], list(out.iterdir())


def main():
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        folder = Path(name)
        (folder / "tiny.yaml").write_text(TINY)
        (folder / "images").mkdir()
        clean = [40 + 150 * (j // 4 % 2) for i in range(SIDE) for j in range(SIDE)]
        noisy = [value + 60 * ((17 * k) % 13 / 13 - 0.5) - 20 for k, value in enumerate(clean)]  # a little below 0
        assert min(noisy) < 0
        rows = b"".join(b"\x00" + bytes(clean[i * SIDE:(i + 1) * SIDE]) for i in range(SIDE))
        (folder / "images/a.png").write_bytes(png(zlib.compress(rows), SIDE))
        for kind, values in (("clean", clean), ("noisy", noisy)):
            (folder / f"{kind}255.npy").write_bytes(npy(values))
            (folder / f"{kind}.npy").write_bytes(npy([value / 255 for value in values]))
        succeeds(folder, "train", "tiny.yaml", "--run", "run", "--quiet")
        of_another_range(folder)
        from_pipes(folder)
        within_the_limit(folder)
        together(folder)


if __name__ == "__main__":
    sys.exit(main())
