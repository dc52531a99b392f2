"""The stages of tools/gpu-check. A stage is a function of the workbench that lists its items: a key, and what finds it out as
a dictionary of figures with a one-line `summary` (or raises Failed, Skipped or Unfinished, see gpu_workbench.py)."""
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

from gpu_workbench import Failed, Skipped, Unfinished

TOOLS = pathlib.Path(__file__).resolve().parent
PRECISIONS, BATCHES = ("fp32", "tf32"), (1, 16)
FORMS, MODES = ("roll", "published"), ("eager", "compile", "graph")


# The machine.

def device(workbench):
    def gpu():
        fields = "name,driver_version,memory.total,compute_cap"
        if not shutil.which("nvidia-smi"):
            raise Skipped("nvidia-smi is not there")
        code, output = workbench.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], "nvidia-smi")
        if code != 0:
            raise Failed(f"nvidia-smi: {workbench.said('nvidia-smi')}")
        values = dict(zip(fields.split(","), map(str.strip, output.split("\n")[0].split(","))))
        return {"summary": ", ".join(values.values()), **values}

    def program():
        info = workbench.tvmap("info", "info", "--device", workbench.device)
        image = sorted(workbench.images().glob("*.png"))[0]
        workbench.tvmap("first_use", "solve", image, "--lambda", 0.07, "--iterations", 8, "--device", workbench.device, "--out",
                      workbench.work / "first_use.npy", limit=120)
        return {"summary": f"tvmap {info['version']}, CUDA backend: {info['cuda_backend']}; {info['processor']}", "info": info}

    def pytorch():
        code, output = workbench.run([workbench.python_with_torch(), TOOLS / "compare_torch.py", "versions"], "pytorch", 120)
        if code != 0:
            raise Failed(f"PyTorch: {workbench.said('pytorch')}")
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


def tests(workbench):
    def test(name, executable):
        code, output = workbench.run([executable], name, 600)
        if code == 77:
            raise Skipped(workbench.said(name))
        if code != 0:
            raise Failed(f"ended with {code}: see {name}.txt")
        return {"summary": assertions(output)}

    return [(name, functools.partial(test, name, executable)) for name, executable in workbench.binaries.tests.items()] or \
        [("tests", no_tests)]


def sanitizer(workbench):
    def check(tool, name, executable):
        checker = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
        if not checker:
            raise Skipped("compute-sanitizer is not there")
        log = f"{tool}-{name}"
        code, _ = workbench.run([checker, "--tool", tool, "--error-exitcode", 99, executable], log, 500)
        said = (workbench.logs / f"{log}.txt").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", said):
            count = int(found[1] or found[2])
            if code == 0 and count == 0:
                return {"summary": "no error"}
            raise Failed(f"{count} found, ended with {code}: see {log}.txt")
        # It has not got as far as checking: no word on the kernels.
        if code == 77 or re.search("not supported|Unable to|Failed to initialize", said):
            raise Skipped(workbench.said(log))
        raise Failed(f"ended with {code}: see {log}.txt")

    tools = ("memcheck",) if workbench.quick else ("memcheck", "racecheck")
    return [(f"{tool} {name}", functools.partial(check, tool, name, executable))
            for tool in tools for name, executable in workbench.binaries.tests.items()] or [("tests", no_tests)]


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


def train(workbench, run, settings, log, device=None, config="chest_xray", resume=False, limit=None):
    """A training run; returns the program's answer and the rows of metrics.csv."""
    overrides = [part for key, value in (settings | workbench.settings).items() for part in ("--set", f"{key}={value}")]
    answer = workbench.tvmap(log, "train", workbench.binaries.configs / f"{config}.yaml", "--device", device or workbench.device,
                           "--run", run, *(["--resume"] if resume else []), *overrides, limit=limit)
    with open(run / "metrics.csv", encoding="ascii", newline="") as metrics:
        return answer, list(csv.DictReader(metrics))


def on_images(workbench):
    return {f"data.{part}": workbench.images() for part in ("train", "val", "test")} | {"data.limit.val": 1}


def agreement(workbench):
    iterations = 32 if workbench.quick else 256

    def solver(height, width, *options):
        """The same bits: image, gradient for the map, gradient for the image."""
        folder = workbench.work / "agreement"
        folder.mkdir(exist_ok=True)
        draw = random.Random(height * width)
        write_npy(folder / "clean.npy", height, width, lambda i, j: 0.5 + 0.3 * math.sin(i / 9) * math.cos(j / 13))
        write_npy(folder / "noisy.npy", height, width,
                  lambda i, j: 0.5 + 0.3 * math.sin(i / 9) * math.cos(j / 13) + draw.gauss(0, 0.1))
        write_npy(folder / "map.npy", height, width, lambda i, j: 0.07 + 0.04 * math.sin(i / 17) * math.cos(j / 23))
        common = [folder / "noisy.npy", "--lambda", folder / "map.npy", "--iterations", iterations, *options]
        found = {}
        for place in ("cpu", workbench.device):
            workbench.tvmap(f"agreement-solve-{place}", "solve", *common, "--device", place, "--out", folder / "x.npy", limit=120)
            workbench.tvmap(f"agreement-gradient-{place}", "gradient", *common, "--target", folder / "clean.npy", "--device",
                          place, "--out", folder / "d_map.npy", limit=120)
            found[place] = {name: (folder / f"{name}.npy").read_bytes() for name in ("x", "d_map")}
        if other := [name for name in ("x", "d_map") if found["cpu"][name] != found[workbench.device][name]]:
            raise Failed(f"{height}×{width}: other bits in {' and '.join(other)} than on the CPU")
        return {"summary": f"{height}×{width}, T = {iterations}: image and map's gradient have the CPU's bits"}

    def ten_steps():
        """Both round differently: on two sets of the CPU's own algorithms the losses are 4e-8 apart and the weights 5e-7;
        Winograd's, which either side may take, round ten times as coarsely. A wrong step moves weights by 1e-3."""
        settings = on_images(workbench) | {"data.limit.train": 10, "train.epochs": 1, "solver.iterations": iterations}
        runs = {}
        for name, place in (("cpu", "cpu"), ("gpu", workbench.device), ("again", workbench.device)):
            folder = workbench.work / "agreement" / f"run-{name}"
            shutil.rmtree(folder, ignore_errors=True)
            _, rows = train(workbench, folder, settings, f"agreement-train-{name}", place, limit=300)
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

def bench(workbench):
    def kernels(batch):
        answer = workbench.tvmap(f"bench-{batch}", "bench", "--device", workbench.device, "--batch", batch, "--seconds",
                               0.05 if workbench.quick else 0.3, limit=400)
        if not answer["kernels"]:
            raise Failed("tvmap bench reports no kernel")
        return {"summary": f"batch {batch}: {len(answer['kernels'])} kernels", **answer}

    return [(f"batch {batch}", functools.partial(kernels, batch)) for batch in BATCHES]


def own_steps(workbench, precision, batch):
    """A whole training step with noise, batch and bookkeeping: the median over epochs that neither are the first nor
    validate; and the device's memory that it takes above the context."""
    count = len(list(workbench.images().glob("*.png")))
    epochs = 4 if workbench.quick else 6 if batch == 1 else 24
    folder = workbench.work / "steps"
    shutil.rmtree(folder, ignore_errors=True)
    answer, rows = train(workbench, folder, on_images(workbench) | {
        "data.limit.train": count, "train.batch": batch, "train.epochs": epochs, "train.validate_every": 10**6,
        "train.checkpoint_every": 10**6, "network.precision": precision}, f"steps-{precision}-{batch}", limit=400)
    each = [float(row["seconds"]) / (int(row["steps"]) - int(previous["steps"]))
            for previous, row in zip(rows, rows[1:]) if not row["val_psnr"]]
    seconds = statistics.median(each)
    return {"summary": f"{seconds * 1e3:.2f} ms a step", "precision": precision, "batch": batch, "seconds": seconds,
            "all_seconds": each, "memory": answer["memory"]}


def steps(workbench):
    """Ours, PyTorch's, ours once more: all in one run on one GPU."""
    def torch(form, mode):
        log = f"pytorch-{form}-{mode}"
        code, output = workbench.run(
            [workbench.python_with_torch(), TOOLS / "compare_torch.py", "device-steps", "--form", form, "--mode", mode,
             "--device", workbench.device, "--precisions", *PRECISIONS, "--batches", *BATCHES, "--seconds",
             0.5 if workbench.quick else 2], log, 500)
        if code != 0:
            raise Failed(f"PyTorch ended with {code}: {workbench.said(log)}")
        found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        return {"summary": ", ".join(f"{step['precision']} batch {step['batch']}: {step['seconds'] * 1e3:.1f} ms"
                                     for step in found), "steps": found}

    # (The CPU has fp32 alone.)
    precisions = (*PRECISIONS, "bf16") if workbench.device == "cuda" else ("fp32",)
    ours = [(f"{precision} batch {batch}", functools.partial(own_steps, workbench, precision, batch))
            for precision in precisions for batch in BATCHES]
    combinations = [("roll", "eager")] if workbench.quick else [(form, mode) for mode in MODES for form in FORMS]
    return [*((f"tvmap {name}", work) for name, work in ours),
            *((f"PyTorch {form} {mode}", functools.partial(torch, form, mode)) for form, mode in combinations),
            *((f"tvmap again {name}", work) for name, work in ours if not workbench.quick)]


# The whole experiment.

EXPERIMENTS = (("chest_xray", "fp32"), ("chest_xray", "tf32"), ("chest_xray_fast", "fp32"))


def experiment(workbench):
    def settings():
        if workbench.data is None:
            raise Skipped("no --data FOLDER with train, val and test")
        return {f"data.{part}": workbench.data / part for part in ("train", "val", "test")}

    def training(config, precision, run):
        """Goes on where the last call left it."""
        short = {"train.epochs": 2} if workbench.quick else {}
        answer, rows = train(workbench, run, settings() | {"network.precision": precision} | short, f"{run.name}-train",
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
        out = workbench.out / "evaluation" / f"{run.name}-{name}"
        answer = workbench.tvmap(f"{run.name}-{name}", "evaluate", run, "--device", workbench.device, "--out", out,
                               "--set", f"evaluate.sigma={sigma}", limit=500)
        gain = answer["gain"]
        said = f"{answer['images']} images: map over best scalar {gain['psnr']:+.2f} dB, {gain['ssim']:+.3f} SSIM"
        if not (gain["psnr"] > 0 or workbench.quick):
            raise Failed(said, answer)
        return {"summary": said, **answer}

    items = []
    for config, precision in EXPERIMENTS[:1] if workbench.quick else EXPERIMENTS:
        run = workbench.out / "runs" / f"{config}-{precision}-{workbench.key}"
        if workbench.again:
            shutil.rmtree(run, ignore_errors=True)
        items += [(f"{config} {precision}: training", functools.partial(training, config, precision, run)),
                  (f"{config} {precision}: σ = 0.5", functools.partial(evaluation, run, "0.5", "half")),
                  (f"{config} {precision}: σ drawn", functools.partial(evaluation, run, "[0.1,0.5]", "drawn"))]
    return items
