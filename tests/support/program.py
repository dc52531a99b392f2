"""What the tests of the program share: running it, small inputs, and a list of what failed. Needs Python's own
library alone. A test ends with `finish()`."""
import os
import struct
import subprocess
import sys
import zlib

program = os.environ["TVMAP"]
failures = []
skipped = []


def npy(values, shape, descr="<f4", cut=0, order="False"):
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    data = struct.pack(f"<{len(values)}{'d' if descr == '<f8' else 'f'}", *values)
    whole = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data
    return whole[: len(whole) - cut]


def png(side, step=1):
    """A grey picture; another one for another step."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + bytes(step * i * j % 256 for j in range(side)) for i in range(side))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


tiny_experiment = b"""data: {train: images, val: images, test: images, size: 32, limit: {train: 2, val: 1, test: 2}}
network: {channels: [4, 4]}
solver: {iterations: 8}
train: {epochs: 1}
evaluate: {iterations: 8, search: {count: 3}}
"""


def run(arguments, folder, **how):
    """The program's end, with what it said; arguments as a list, or as a text without blanks inside of them."""
    arguments = arguments.split() if isinstance(arguments, str) else arguments
    how = {"capture_output": True, "text": True, "errors": "surrogateescape", "timeout": 120, **how}
    return subprocess.run([program, *arguments], cwd=folder, **how)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def check(condition, message):
    if not condition:
        failures.append(message)
        print("FAILED:", message)


def refused(folder, code, arguments, *parts, **how):
    """The program must end with `code`, say each of `parts` in one line, and change nothing."""
    before = contents(folder)
    try:
        result = run(arguments, folder, **how)
    except subprocess.TimeoutExpired:
        return check(False, f"tvmap {arguments}: goes to work")
    what = f"tvmap {arguments}: exit {result.returncode}, {result.stderr!r}"
    check(result.returncode == code, f"{what}; expected exit {code}")
    check(result.stderr.startswith("tvmap") and result.stderr.count("\n") == 1, f"{what}; expected one line")
    check(result.stdout == "", f"{what}; standard output: {result.stdout!r}")
    for part in parts:
        check(part in result.stderr, f"{what}; expected {part!r}")
    check(contents(folder) == before, f"{what}; files changed: {set(contents(folder)) ^ set(before)}")


def finish():
    for what in skipped:
        print("SKIPPED:", what)
    print(f"{len(failures)} failures" if failures else "all as it should be")
    sys.exit(bool(failures))
