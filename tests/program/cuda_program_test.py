#!/usr/bin/env python3
"""The program on the emulated CUDA backend, beside itself on the CPU: every command that takes a device."""
import csv
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

TVMAP, EMULATED = os.environ["TVMAP"], os.environ["TVMAP_EMULATED"]
CONFIG = """
data: {{train: {0}/images, val: {0}/images, test: {0}/images, size: 16, limit: {{train: 6, val: 1, test: 2}}}}
network: {{channels: [4, 8]}}
solver: {{iterations: 12}}
optimiser: {{rate: 1e-3, schedule: cosine, warmup: 3}}
train: {{epochs: 3, batch: 2, crop: 8, flip: true, checkpoint_seconds: 0.001}}
evaluate: {{iterations: 12, search: {{from: 0, to: 0.2, count: 5}}}}
"""


class Program:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"), TVMAP_CUDA_BACKEND=EMULATED)

    def start(self, *arguments):
        return subprocess.Popen([TVMAP, *map(str, arguments)], env=self.environment, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def __call__(self, *arguments):
        process = self.start(*arguments)
        output, error = process.communicate()
        assert process.returncode == 0, f"tvmap {' '.join(map(str, arguments))}: {process.returncode}: {error}"
        return output


def floats(path):
    """The values of a .npy file of float32."""
    data = path.read_bytes()
    header = struct.unpack("<H", data[8:10])[0]
    return data[10 + header:]


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def near(a, b, tolerance):
    return abs(a - b) <= tolerance * max(abs(a), abs(b))


def check_solver(run, folder):
    """The solver's bits are the CPU's, whatever the device."""
    image = sorted((folder / "images").iterdir())[0]
    for device in ("cpu", "cuda"):
        run("solve", image, "--lambda", 0.05, "--iterations", 20, "--device", device, "--out", folder / f"x_{device}.npy",
            "--quiet")
        run("gradient", image, "--lambda", folder / f"x_{device}.npy", "--target", image, "--iterations", 10, "--device",
            device, "--out", folder / f"d_{device}.npy", "--quiet")
    assert floats(folder / "x_cpu.npy") == floats(folder / "x_cuda.npy"), "solve: not the CPU's bits"
    gradients = [struct.unpack(f"<{len(data) // 4}f", data)
                 for data in (floats(folder / "d_cpu.npy"), floats(folder / "d_cuda.npy"))]
    norm = sum(v * v for v in gradients[0])
    assert norm > 0
    # The loss's sum in another order: its gradient may differ in the last place.
    assert sum((a - b) ** 2 for a, b in zip(*gradients)) <= 1e-12 * norm, "gradient differs"

    gaps = [json.loads(run("solve", image, "--lambda", 0.05, "--iterations", 300, "--gap", 3e-2, "--device", device,
                           "--out", folder / "gap.npy", "--json")) for device in ("cpu", "cuda")]
    for result in gaps:
        result.pop("seconds", None)
        result.pop("device", None)
    assert gaps[0] == gaps[1], gaps
    curves = [json.loads(run("search", image, "--clean", image, "--from", 0, "--to", 0.1, "--count", 4, "--iterations",
                             10, "--device", device, "--out", folder / f"search_{device}.csv", "--json"))
              for device in ("cpu", "cuda")]
    assert curves[0] and curves[1]
    searched = [rows(folder / f"search_{device}.csv") for device in ("cpu", "cuda")]
    assert len(searched[0]) == len(searched[1]) > 0
    for a, b in zip(*searched):
        for key in a:
            if key not in ("image", "file", "name"):
                assert a[key] == b[key] or near(float(a[key]), float(b[key]), 1e-5), (key, a, b)


def check_training(run, folder):
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(folder))
    for device in ("cpu", "cuda"):
        run("train", config, "--run", folder / device, "--device", device, "--quiet", "--threads", 1)
    cpu, cuda = (rows(folder / device / "metrics.csv") for device in ("cpu", "cuda"))
    assert len(cpu) == len(cuda) == 3
    for a, b in zip(cpu, cuda):
        for key in ("loss", "psnr", "val_psnr"):
            if key in a:
                # Nine steps: convolutions and losses add up in another order.
                assert near(float(a[key]), float(b[key]), 1e-3), (key, a, b)
    assert "cuda" in (folder / "cuda" / "log.txt").read_text()

    # The copy that checkpoints are written from: weights and two moments, each padded to 64 bytes. The CPU needs none.
    for device, copies in (("cpu", 0), ("cuda", 3)):
        plan = json.loads(run("train", config, "--plan", "--device", device, "--json"))
        assert plan["memory"]["copy"] == copies * ((4 * plan["parameters"] + 63) // 64 * 64), (device, plan)
        table = run("train", config, "--plan", "--device", device)
        assert ("pinned" in table) == (copies > 0) and (not copies or str(plan["memory"]["copy"]) in table), table

    # Interrupted and killed, resumed: the same bits as in one go.
    for name, ending in (("interrupted", signal.SIGINT), ("killed", signal.SIGKILL)):
        process = run.start("train", config, "--run", folder / name, "--device", "cuda", "--quiet", "--threads", 1)
        limit = time.monotonic() + 60
        while not (folder / name / "checkpoints" / "last.safetensors").exists() and process.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.005)
        process.send_signal(ending)
        process.communicate()
        run("train", config, "--run", folder / name, "--device", "cuda", "--quiet", "--threads", 1, "--resume")
        for which in ("last", "best"):
            file = pathlib.Path("checkpoints") / f"{which}.safetensors"
            assert (folder / name / file).read_bytes() == (folder / "cuda" / file).read_bytes(), (name, which)

    # The same weights used on both devices.
    checkpoint = folder / "cuda" / "checkpoints" / "best.safetensors"
    images = sorted((folder / "images").iterdir())[:2]
    results = []
    for device in ("cpu", "cuda"):
        run("denoise", *images, "--checkpoint", checkpoint, "--out", folder / f"denoised_{device}", "--device", device,
            "--quiet")
        run("evaluate", folder / "cuda", "--device", device, "--quiet")
        results.append(rows(folder / "cuda" / "evaluation" / "per_image.csv"))
    assert len(results[0]) == len(results[1]) == 2
    for a, b in zip(*results):
        for key, value in a.items():
            try:
                expected = float(value)
            except ValueError:
                assert value == b[key], (key, a, b)
                continue
            assert near(expected, float(b[key]), 1e-4) or abs(expected - float(b[key])) < 1e-9, (key, a, b)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run = Program(folder)
        assert "emulated" in run("info"), "info does not name the backend"
        run("phantoms", "--out", folder / "images", "--count", 6, "--size", 16, "--seed", 1, "--quiet")
        check_solver(run, folder)
        check_training(run, folder)
        bench = json.loads(run("bench", "--device", "cuda", "--size", 32, "--iterations", 4, "--seconds", 0, "--filter",
                               "pool", "--json"))
        assert {entry["kernel"] for entry in bench["kernels"]} == {"max_pool_forward", "max_pool_backward"}
        # A library that is none, and one that is not there: one line, and the CPU serves where it may.
        for path in (str(folder / "nothing.so"), __file__):
            run.environment["TVMAP_CUDA_BACKEND"] = path
            process = run.start("bench", "--device", "cuda", "--filter", "pool")
            error = process.communicate()[1].strip()
            assert process.returncode == 1 and len(error.splitlines()) == 1 and path in error, error
            assert path in run("info")
            run("solve", sorted((folder / "images").iterdir())[0], "--lambda", 0.05, "--out", folder / "x.npy", "--quiet")


if __name__ == "__main__":
    sys.exit(main())
