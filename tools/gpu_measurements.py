"""The stages of tools/gpu-check that measure the program and prove that it agrees with the CPU. A stage is a function of the
workbench that lists its items: a key, and what finds it out as a dictionary of figures with a one-line `summary` (or raises
Failed, Skipped or Unfinished, see gpu_workbench.py)."""
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

from gpu_workbench import COMPARE_TORCH, Failed, Skipped, TooLong, Unfinished, write_text

PRECISIONS, BATCHES = ("fp32", "tf32", "bf16"), (1, 16)
# The most that PyTorch gets for all its steps of one kind, in seconds: what is there by then counts.
TORCH_LIMIT = {"eager": 90, "graph": 90, "compile": 240}


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
        workbench.python_with_torch()
        values = workbench.torch
        return {"summary": f"PyTorch {values['torch']}, cuDNN {values['cudnn']}, CUDA {values['cuda']}", **values}

    return [("gpu", gpu), ("program", program), ("pytorch", pytorch)]


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
    return answer, metrics(run)


def metrics(run):
    with open(run / "metrics.csv", encoding="ascii", newline="") as file:
        return list(csv.DictReader(file))


def precisions(workbench):
    return PRECISIONS if workbench.device == "cuda" else ("fp32",)  # the CPU's only one


def on_images(workbench):
    return {f"data.{part}": workbench.images() for part in ("train", "val", "test")} | {"data.limit.val": 1}


def waves(folder, height, width):
    """clean.npy, noisy.npy and a smooth map around the best scalar, lambda.npy; always the same."""
    folder.mkdir(exist_ok=True)
    draw = random.Random(height * width)
    write_npy(folder / "clean.npy", height, width, lambda i, j: 0.5 + 0.3 * math.sin(i / 9) * math.cos(j / 13))
    write_npy(folder / "noisy.npy", height, width,
              lambda i, j: 0.5 + 0.3 * math.sin(i / 9) * math.cos(j / 13) + draw.gauss(0, 0.1))
    write_npy(folder / "lambda.npy", height, width, lambda i, j: 0.07 + 0.04 * math.sin(i / 17) * math.cos(j / 23))
    return folder


def agreement(workbench):
    iterations = 32 if workbench.quick else 256

    def solver(height, width, *options):
        """The same bits: image, gradient for the map, gradient for the image."""
        folder = waves(workbench.work / "agreement", height, width)
        common = [folder / "noisy.npy", "--lambda", folder / "lambda.npy", "--iterations", iterations, *options]
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
    epochs = 4 if workbench.quick or batch == 1 else 8
    folder = workbench.work / "steps"
    shutil.rmtree(folder, ignore_errors=True)
    answer, rows = train(workbench, folder, on_images(workbench) | {
        "data.limit.train": count, "train.batch": batch, "train.epochs": epochs, "train.validate_every": 10**6,
        "train.checkpoint_every": 10**6, "network.precision": precision}, f"steps-{precision}-{batch}", limit=120)
    each = [float(row["seconds"]) / (int(row["steps"]) - int(previous["steps"]))
            for previous, row in zip(rows, rows[1:]) if not row["val_psnr"]]
    seconds = statistics.median(each)
    return {"summary": f"{seconds * 1e3:.2f} ms a step", "precision": precision, "batch": batch, "seconds": seconds,
            "all_seconds": each, "memory": answer["memory"]}


def own(workbench, name):
    return [(f"{name} {precision} batch {batch}", functools.partial(own_steps, workbench, precision, batch))
            for precision in precisions(workbench) for batch in BATCHES]


def torch_lines(workbench, log, limit, *arguments):
    """What compare_torch.py finds out, and a remark on what it did not: it prints each figure when it is there, so one that
    takes too long takes no other with it."""
    command = [workbench.python_with_torch(), COMPARE_TORCH, *arguments, "--device", workbench.device, "--seconds", 0.5]
    remark = ""
    try:
        code, output = workbench.run(command, log, limit)
    except TooLong as error:
        code, output, remark = None, error.output, f"; {error}"
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")]
    if code:
        remark = f"; PyTorch ended with {code}: {workbench.said(log)}"
    if not found:
        raise Failed(remark.removeprefix("; ") or "PyTorch says nothing")
    return found, remark


def torch_steps(workbench, form, mode):
    def work():
        found, remark = torch_lines(workbench, f"pytorch-{form}-{mode}", TORCH_LIMIT[mode], "device-steps", "--form", form,
                                    "--mode", mode, "--precisions", *PRECISIONS, "--batches", *BATCHES)
        return {"summary": ", ".join(f"{step['precision']} batch {step['batch']}: {step['seconds'] * 1e3:.1f} ms"
                                     for step in found) + remark, "steps": found}
    return f"PyTorch {form} {mode}", work


def steps(workbench):
    """Ours and PyTorch's, all in one run on one GPU; the most telling first."""
    modes = ("eager",) if workbench.quick else ("eager", "graph")
    return [*own(workbench, "tvmap"), *(torch_steps(workbench, "roll", mode) for mode in modes)]


def contenders(workbench):
    """What takes PyTorch minutes, and ours once more."""
    if workbench.quick:
        return []
    return [torch_steps(workbench, "roll", "compile"), *own(workbench, "tvmap again"),
            *(torch_steps(workbench, "published", mode) for mode in ("graph", "eager", "compile"))]


def solver(workbench):
    """The solver alone: 256×256, T = 256, batch 1; the search tries 81 scalars."""
    repeat, side = (3, 64) if workbench.quick else (50, 256)
    folder = waves(workbench.work / "solver", side, side)
    noisy, clean = folder / "noisy.npy", folder / "clean.npy"
    common = ["--iterations", 256, "--repeat", repeat, "--device", workbench.device]
    tasks = {"solve": [noisy, "--lambda", folder / "lambda.npy", "--out", folder / "x.npy"],
             "gradient": [noisy, "--lambda", folder / "lambda.npy", "--target", clean, "--out", folder / "d_map.npy"],
             "search": [noisy, "--clean", clean, "--from", 0, "--to", 0.8, "--count", 81]}

    def ours(task):
        seconds = workbench.tvmap(f"solver-{task}", task, *tasks[task], *common, limit=60)["seconds"]
        return {"summary": f"{seconds * 1e3:.3f} ms", "task": task, "seconds": seconds}

    def torch(mode):
        found, remark = torch_lines(workbench, f"pytorch-solver-{mode}", TORCH_LIMIT[mode], "device-solver", "--folder", folder,
                                    "--form", "roll", "--mode", mode)
        return {"summary": ", ".join(f"{task['task']} {task['seconds'] * 1e3:.1f} ms" for task in found) + remark, "tasks": found}

    modes = ("eager",) if workbench.quick else ("eager", "graph")
    return [*((f"tvmap {task}", functools.partial(ours, task)) for task in tasks),
            *((f"PyTorch roll {mode}", functools.partial(torch, mode)) for mode in modes)]


# The whole experiment.

EXPERIMENTS = (("chest_xray", "tf32"), ("chest_xray", "fp32"), ("chest_xray_fast", "fp32"))


def experiment(workbench):
    def settings():
        if workbench.data is None:
            raise Skipped("no --data FOLDER with train, val and test")
        return {f"data.{part}": workbench.work / "data" / part for part in ("train", "val", "test")}

    def settle(run):
        """A run that comes from elsewhere finds its images here. (That they are the same ones, the program checks.)"""
        path = run / "config.yaml"
        if path.exists():
            text = path.read_text(encoding="utf-8")
            for key, folder in settings().items():
                name = key.partition(".")[2]
                text = re.sub(rf'^( +{name}: )".*"$', lambda line, to=json.dumps(str(folder)): line[1] + to, text,
                              flags=re.MULTILINE)
            write_text(path, text)

    def training(config, precision, run):
        """Goes on where the last call left it."""
        short = {"train.epochs": 2} if workbench.quick else {}
        settle(run)
        try:
            answer, rows = train(workbench, run, settings() | {"network.precision": precision} | short, f"{run.name}-train",
                                 config=config, resume=True)
        except Unfinished as reason:
            raise Unfinished(*reached(run, str(reason))) from None
        seconds = sum(float(row["seconds"]) for row in rows)
        (run / "trained").touch()
        return {"summary": f"{answer['steps']} steps in {seconds / 60:.1f} min, best validation PSNR "
                           f"{answer['best_psnr']:.2f} dB", "seconds": seconds, "steps": answer["steps"],
                "epochs": answer["epoch"], "best_psnr": answer["best_psnr"], "memory": answer["memory"]}

    def reached(run, reason):
        """How far a run has got, and its rate, which says how long the rest will take."""
        rows = metrics(run) if (run / "metrics.csv").exists() else []
        if not rows:
            return reason, None
        seconds, best = sum(float(row["seconds"]) for row in rows), max(float(row["val_psnr"] or "-inf") for row in rows)
        values = {"epochs": int(rows[-1]["epoch"]), "steps": int(rows[-1]["steps"]), "seconds": seconds,
                  "best_psnr": best if math.isfinite(best) else None}
        return f"{reason}: {values['epochs']} epochs, {seconds / len(rows):.3f} s each", values

    def evaluation(run, sigma, name):
        settings()
        if not (run / "trained").exists():
            raise Unfinished("not trained yet")
        settle(run)
        out = workbench.out / "evaluation" / f"{run.name}-{name}"
        answer = workbench.tvmap(f"{run.name}-{name}", "evaluate", run, "--device", workbench.device, "--out", out,
                               "--set", f"evaluate.sigma={sigma}", limit=500)
        gain = answer["gain"]
        said = f"{answer['images']} images: map over best scalar {gain['psnr']:+.2f} dB, {gain['ssim']:+.3f} SSIM"
        if not (gain["psnr"] > 0 or workbench.quick):
            raise Failed(said, answer)
        return {"summary": said, **answer}

    items = []
    chosen = [(config, precision) for config, precision in EXPERIMENTS if precision in precisions(workbench)]
    for config, precision in chosen[:1] if workbench.quick else chosen:
        run = workbench.out / "runs" / f"{config}-{precision}-{workbench.key}"
        if workbench.again:
            shutil.rmtree(run, ignore_errors=True)
        items += [(f"{config} {precision}: training", functools.partial(training, config, precision, run)),
                  (f"{config} {precision}: σ = 0.5", functools.partial(evaluation, run, "0.5", "half")),
                  (f"{config} {precision}: σ drawn", functools.partial(evaluation, run, "[0.1,0.5]", "drawn"))]
    return items
