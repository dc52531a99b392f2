"""The stages of tools/gpu-check. A stage is a function of the session that lists its items: a key, and what finds it out as
a dictionary of figures with a one-line `summary` (or raises Failed, Skipped or Unfinished, see gpu_session.py)."""
import array
import csv
import functools
import json
import math
import pathlib
import random
import re
import shutil
import statistics
import struct

from gpu_session import Failed, Skipped, Unfinished

TOOLS = pathlib.Path(__file__).resolve().parent
PRECISIONS, BATCHES = ("fp32", "tf32"), (1, 16)
FORMS, MODES = ("roll", "published"), ("eager", "compile", "graph")


# The machine.

def device(session):
    def gpu():
        fields = "name,driver_version,memory.total,compute_cap"
        if not shutil.which("nvidia-smi"):
            raise Skipped("nvidia-smi is not there")
        code, output = session.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], "nvidia-smi")
        if code != 0:
            raise Failed(f"nvidia-smi: {session.said('nvidia-smi')}")
        values = dict(zip(fields.split(","), map(str.strip, output.split("\n")[0].split(","))))
        return {"summary": ", ".join(values.values()), **values}

    def program():
        info = session.tvmap("info", "info", "--device", session.device)
        image = sorted(session.images().glob("*.png"))[0]
        session.tvmap("first_use", "solve", image, "--lambda", 0.07, "--iterations", 8, "--device", session.device, "--out",
                      session.work / "first_use.npy", limit=120)
        return {"summary": f"tvmap {info['version']}, CUDA backend: {info['cuda_backend']}; {info['processor']}", "info": info}

    def pytorch():
        code, output = session.run([session.python_with_torch(), TOOLS / "compare_torch.py", "versions"], "pytorch", 120)
        if code != 0:
            raise Failed(f"PyTorch: {session.said('pytorch')}")
        values = json.loads(output)
        return {"summary": f"PyTorch {values['torch']}, cuDNN {values['cudnn']}, CUDA {values['cuda']}", **values}

    return [("gpu", gpu), ("program", program), ("pytorch", pytorch)]


# The tests with the label `gpu`, as they are and under compute-sanitizer.

def assertions(output):
    """What doctest says last of its assertions; a test that checked nothing has not passed."""
    found = re.search(r"assertions:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed", output)
    if not found or int(found[1]) == 0:
        raise Failed("it reports no assertion")
    return f"{int(found[1]):,} assertions"


def no_tests():
    raise Skipped("no tests for the GPU here: configure with TVMAP_TESTS=ON, or bundle them by tools/bundle --with-tests")


def tests(session):
    def test(name, executable):
        code, output = session.run([executable], name, 600)
        if code == 77:
            raise Skipped(session.said(name))
        if code != 0:
            raise Failed(f"ended with {code}: see {name}.txt")
        return {"summary": assertions(output)}

    return [(name, functools.partial(test, name, executable)) for name, executable in session.binaries.tests.items()] or \
        [("tests", no_tests)]


def sanitizer(session):
    def check(tool, name, executable):
        checker = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
        if not checker:
            raise Skipped("compute-sanitizer is not there")
        log = f"{tool}-{name}"
        code, _ = session.run([checker, "--tool", tool, "--error-exitcode", 99, executable], log, 500)
        said = (session.logs / f"{log}.txt").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", said):
            count = int(found[1] or found[2])
            if code == 0 and count == 0:
                return {"summary": "no error"}
            raise Failed(f"{count} found, ended with {code}: see {log}.txt")
        # It has not got as far as checking: no word on the kernels.
        if code == 77 or re.search("not supported|Unable to|Failed to initialize", said):
            raise Skipped(session.said(log))
        raise Failed(f"ended with {code}: see {log}.txt")

    tools = ("memcheck",) if session.quick else ("memcheck", "racecheck")
    return [(f"{tool} {name}", functools.partial(check, tool, name, executable))
            for tool in tools for name, executable in session.binaries.tests.items()] or [("tests", no_tests)]


# The same work on the CPU and on the GPU.

def write_npy(path, height, width, value):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    values = array.array("f", (value(i // width, i % width) for i in range(height * width)))
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + values.tobytes())


def read_weights(path):
    """The network's parameters of a checkpoint, in one array."""
    content = path.read_bytes()
    start = 8 + struct.unpack_from("<Q", content)[0]
    values = array.array("f")
    for name, entry in sorted(json.loads(content[8:start]).items()):
        if name != "__metadata__" and entry["dtype"] == "F32" and not name.startswith("optimiser."):
            begin, stop = entry["data_offsets"]
            values.frombytes(content[start + begin:start + stop])
    return values


def relative_difference(a, b):
    """‖a − b‖₂/‖b‖₂."""
    if len(a) != len(b) or not len(b):
        raise Failed(f"{len(a)} values where {len(b)} are expected")
    return math.dist(a, b) / math.hypot(*b)


def train(session, run, settings, log, device=None, config="chest_xray", resume=False, limit=None):
    """A training run; returns the program's answer and the rows of metrics.csv."""
    overrides = [part for key, value in (settings | session.settings).items() for part in ("--set", f"{key}={value}")]
    answer = session.tvmap(log, "train", session.binaries.configs / f"{config}.yaml", "--device", device or session.device,
                           "--run", run, *(["--resume"] if resume else []), *overrides, limit=limit)
    with open(run / "metrics.csv", encoding="ascii", newline="") as metrics:
        return answer, list(csv.DictReader(metrics))


def on_images(session):
    return {f"data.{part}": session.images() for part in ("train", "val", "test")} | {"data.limit.val": 1}


def agreement(session):
    iterations = 32 if session.quick else 256

    def solver(height, width, *options):
        """The same bits: image, gradient for the map, gradient for the image."""
        folder = session.work / "agreement"
        folder.mkdir(exist_ok=True)
        draw = random.Random(height * width)
        write_npy(folder / "clean.npy", height, width, lambda i, j: 0.5 + 0.3 * math.sin(i / 9) * math.cos(j / 13))
        write_npy(folder / "noisy.npy", height, width,
                  lambda i, j: 0.5 + 0.3 * math.sin(i / 9) * math.cos(j / 13) + draw.gauss(0, 0.1))
        write_npy(folder / "map.npy", height, width, lambda i, j: 0.07 + 0.04 * math.sin(i / 17) * math.cos(j / 23))
        common = [folder / "noisy.npy", "--lambda", folder / "map.npy", "--iterations", iterations, *options]
        found = {}
        for place in ("cpu", session.device):
            session.tvmap(f"agreement-solve-{place}", "solve", *common, "--device", place, "--out", folder / "x.npy", limit=120)
            session.tvmap(f"agreement-gradient-{place}", "gradient", *common, "--target", folder / "clean.npy", "--device",
                          place, "--out", folder / "d_map.npy", limit=120)
            found[place] = {name: (folder / f"{name}.npy").read_bytes() for name in ("x", "d_map")}
        if other := [name for name in ("x", "d_map") if found["cpu"][name] != found[session.device][name]]:
            raise Failed(f"{height}×{width}: other bits in {' and '.join(other)} than on the CPU")
        return {"summary": f"{height}×{width}, T = {iterations}: image and map's gradient have the CPU's bits"}

    def ten_steps():
        """Both round differently: on two sets of the CPU's own algorithms the losses are 4e-8 apart and the weights 5e-7;
        Winograd's, which either side may take, round ten times as coarsely. A wrong step moves weights by 1e-3."""
        settings = on_images(session) | {"data.limit.train": 10, "train.epochs": 1, "solver.iterations": iterations}
        runs = {}
        for name, place in (("cpu", "cpu"), ("gpu", session.device), ("again", session.device)):
            folder = session.work / "agreement" / f"run-{name}"
            shutil.rmtree(folder, ignore_errors=True)
            _, rows = train(session, folder, settings, f"agreement-train-{name}", place, limit=300)
            runs[name] = float(rows[0]["loss"]), read_weights(folder / "checkpoints" / "last.safetensors")
        loss = abs(runs["gpu"][0] / runs["cpu"][0] - 1)
        weights = relative_difference(runs["gpu"][1], runs["cpu"][1])
        values = {"loss": loss, "weights": weights, "repeatable": runs["gpu"] == runs["again"]}
        if not (loss <= 1e-5 and weights <= 2e-5):
            raise Failed(f"ten training steps: loss {loss:.1e} of 1e-5, weights {weights:.1e} of 2e-5 from the CPU's", values)
        if not values["repeatable"]:
            raise Failed("ten training steps: other bits when done again", values)
        return {"summary": f"ten training steps: loss {loss:.1e} of 1e-5, weights {weights:.1e} of 2e-5 from the CPU's; the "
                           "same bits when done again", **values}

    return [("solver 256×256", lambda: solver(256, 256)),
            ("solver 97×131", lambda: solver(97, 131)),
            ("solver 97×131, neumann", lambda: solver(97, 131, "--boundary", "neumann")),
            ("solver 64×600, start from the image", lambda: solver(64, 600, "--start", "image")),
            ("ten steps", ten_steps)]


# Speed.

def bench(session):
    def kernels(batch):
        answer = session.tvmap(f"bench-{batch}", "bench", "--device", session.device, "--batch", batch, "--seconds",
                               0.05 if session.quick else 0.3, limit=400)
        if not answer["kernels"]:
            raise Failed("tvmap bench reports no kernel")
        return {"summary": f"batch {batch}: {len(answer['kernels'])} kernels", **answer}

    return [(f"batch {batch}", functools.partial(kernels, batch)) for batch in BATCHES]


def own_steps(session, precision, batch):
    """A whole training step with noise, batch and bookkeeping: the median over epochs that neither are the first nor
    validate; and the device's memory that it takes above the context."""
    count = len(list(session.images().glob("*.png")))
    epochs = 4 if session.quick else 6 if batch == 1 else 24
    folder = session.work / "steps"
    shutil.rmtree(folder, ignore_errors=True)
    answer, rows = train(session, folder, on_images(session) | {
        "data.limit.train": count, "train.batch": batch, "train.epochs": epochs, "train.validate_every": 10**6,
        "train.checkpoint_every": 10**6, "network.precision": precision}, f"steps-{precision}-{batch}", limit=400)
    each = [float(row["seconds"]) / (int(row["steps"]) - int(previous["steps"]))
            for previous, row in zip(rows, rows[1:]) if not row["val_psnr"]]
    seconds = statistics.median(each)
    return {"summary": f"{seconds * 1e3:.2f} ms a step", "precision": precision, "batch": batch, "seconds": seconds,
            "all_seconds": each, "memory": answer["memory"]}


def steps(session):
    """Ours, PyTorch's, ours once more: all in one run on one GPU."""
    def torch(form, mode):
        log = f"pytorch-{form}-{mode}"
        code, output = session.run(
            [session.python_with_torch(), TOOLS / "compare_torch.py", "device-steps", "--form", form, "--mode", mode,
             "--device", session.device, "--precisions", *PRECISIONS, "--batches", *BATCHES, "--seconds",
             0.5 if session.quick else 2], log, 500)
        if code != 0:
            raise Failed(f"PyTorch ended with {code}: {session.said(log)}")
        found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        return {"summary": ", ".join(f"{step['precision']} batch {step['batch']}: {step['seconds'] * 1e3:.1f} ms"
                                     for step in found), "steps": found}

    # (The CPU has fp32 alone.)
    precisions = (*PRECISIONS, "bf16") if session.device == "cuda" else ("fp32",)
    ours = [(f"{precision} batch {batch}", functools.partial(own_steps, session, precision, batch))
            for precision in precisions for batch in BATCHES]
    combinations = [("roll", "eager")] if session.quick else [(form, mode) for mode in MODES for form in FORMS]
    return [*((f"tvmap {name}", work) for name, work in ours),
            *((f"PyTorch {form} {mode}", functools.partial(torch, form, mode)) for form, mode in combinations),
            *((f"tvmap again {name}", work) for name, work in ours if not session.quick)]


# The whole experiment.

EXPERIMENTS = (("chest_xray", "fp32"), ("chest_xray", "tf32"), ("chest_xray_fast", "fp32"))


def experiment(session):
    def settings():
        if session.data is None:
            raise Skipped("no --data FOLDER with train, val and test")
        return {f"data.{part}": session.data / part for part in ("train", "val", "test")}

    def training(config, precision, run):
        """Goes on where the last call left it."""
        short = {"train.epochs": 2} if session.quick else {}
        answer, rows = train(session, run, settings() | {"network.precision": precision} | short, f"{run.name}-train",
                             config=config, resume=True)
        seconds = sum(float(row["seconds"]) for row in rows)
        (run / "trained").touch()
        return {"summary": f"{answer['steps']} steps in {seconds / 60:.1f} min, best validation PSNR "
                           f"{answer['best_psnr']:.2f} dB", "seconds": seconds, "steps": answer["steps"],
                "epochs": answer["epoch"], "best_psnr": answer["best_psnr"], "memory": answer["memory"]}

    def evaluation(run, sigma, name):
        settings()
        if not (run / "trained").exists():
            raise Unfinished("not trained yet")
        out = session.out / "evaluation" / f"{run.name}-{name}"
        answer = session.tvmap(f"{run.name}-{name}", "evaluate", run, "--device", session.device, "--out", out,
                               "--set", f"evaluate.sigma={sigma}", limit=500)
        gain = answer["gain"]
        said = f"{answer['images']} images: map over best scalar {gain['psnr']:+.2f} dB, {gain['ssim']:+.3f} SSIM"
        if not (gain["psnr"] > 0 or session.quick):
            raise Failed(said, answer)
        return {"summary": said, **answer}

    items = []
    for config, precision in EXPERIMENTS[:1] if session.quick else EXPERIMENTS:
        run = session.out / "runs" / f"{config}-{precision}-{session.key}"
        if session.again:
            shutil.rmtree(run, ignore_errors=True)
        items += [(f"{config} {precision}: training", functools.partial(training, config, precision, run)),
                  (f"{config} {precision}: σ = 0.5", functools.partial(evaluation, run, "0.5", "half")),
                  (f"{config} {precision}: σ drawn", functools.partial(evaluation, run, "[0.1,0.5]", "drawn"))]
    return items
