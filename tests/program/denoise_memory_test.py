#!/usr/bin/env python3
"""`tvmap denoise` on images that are larger than its memory: the limit is kept, whatever the picture, the result is that of more
memory, and a limit that is too small is refused before anything is written."""
import os
import pathlib
import re
import struct
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))

from program import check, finish, png, program, refused, run, tiny_experiment  # noqa: E402


def picture(height, width, bits=8, channels=1):
    """Bars and noise as a PNG."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = width * channels * bits // 8
    state, rows = 1, []
    noise = bytes((1103515245 * k + 12345) >> 16 & 63 for k in range(1 << 16)) * (stride // (1 << 16) + 2)
    for i in range(height):
        level = 96 if i // 37 % 2 else 32
        state = (state * 1103515245 + 12345) % (1 << 31)
        start = state >> 15
        rows.append(b"\x00" + bytes(level + value for value in noise[start % (1 << 16):][:stride]))
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2 if channels == 3 else 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"".join(rows), 1)) + chunk(b"IEND", b""))


def values(path):
    """Of a .npy of floats."""
    data = path.read_bytes()
    header = struct.unpack("<H", data[8:10])[0]
    return struct.unpack(f"<{(len(data) - 10 - header) // 4}f", data[10 + header:])


def peak(arguments, folder):
    """The most memory that a run of the program takes, in bytes."""
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.execv(program, [program, *arguments.split()])
    _, status, usage = os.wait4(child, 0)
    check(status == 0, f"tvmap {arguments}: status {status}")
    return usage.ru_maxrss * 1024


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    (folder / "images").mkdir()
    for k in range(2):
        (folder / "images" / f"{k}.png").write_bytes(png(32, k + 1))
    # The reference's network, after two steps.
    (folder / "experiment.yaml").write_bytes(tiny_experiment.replace(b"[4, 4]", b"[32, 64, 128, 256]"))
    trained = run("train experiment.yaml --run trained --device cpu --quiet", folder)
    check(trained.returncode == 0, f"training: {trained.stderr}")
    with_network = "--checkpoint trained/checkpoints/last.safetensors --device cpu --quiet"

    (folder / "radiograph.png").write_bytes(picture(2000, 1800))
    (folder / "deep.png").write_bytes(picture(1100, 900, bits=16))
    (folder / "colour.png").write_bytes(picture(901, 1203, channels=3))
    for name, memory in (("radiograph", None), ("radiograph", "500MB"), ("deep", "300MB"), ("colour", "400MB")):
        limit = f"--memory {memory}" if memory else ""
        taken = peak(f"denoise {name}.png {with_network} {limit} --map --out {name}_{memory}", folder)
        print(f"{name}, {memory or 'as usual'}: {taken / 1e6:.1f} MB")
        check(taken <= (float(memory[:-2]) if memory else 600) * 1e6, f"{name}: {taken} bytes with {memory}")

    # 1e-5 of the largest value: see cuda_tiles_test.
    few, many = (values(folder / f"radiograph_{memory}" / "radiograph_lambda.npy") for memory in ("None", "500MB"))
    check(len(few) == 2000 * 1800, f"{len(few)} values in a map")
    check(max(abs(a - b) for a, b in zip(few, many)) <= 1e-5 * max(few), "other tiles make another map")

    command = f"denoise colour.png radiograph.png {with_network} --out new"
    refused(folder, 1, f"{command} --memory 150MB", "radiograph.png: to denoise 2000×1800 takes at least ",
            "more than --memory, 150000000")
    refused(folder, 2, f"{command} --memory 150XB", "--memory 150XB: give bytes")
    refused(folder, 2, f"{command} --memory 0", "--memory 0: give bytes")
    # What it says is what it needs.
    said = run(f"{command} --memory 150MB", folder).stderr
    least = int(re.search(r"at least (\d+) bytes", said).group(1))
    check(150e6 < least < 450e6, said)

finish()
