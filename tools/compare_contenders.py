"""Who takes part in tools/compare, and how one measurement of each is made: of the program in a process of its own, of PyTorch and
scikit-image in one that is started once a row, gets warm, and waits between its turns."""
import contextlib
import csv
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

from compare_table import summary

TOOLS = pathlib.Path(__file__).resolve().parent
ROOT = TOOLS.parent
PROGRAM = ROOT / "build" / "tvmap"
COUNT = 81  # values of a search
CROP, BATCH = 64, 4
LONGEST_START = 600  # seconds until a process is warm; torch.compile compiles meanwhile


class Failed(Exception):
    """A contender that cannot be measured; says why in one line."""


@dataclasses.dataclass(frozen=True)
class Torch:
    """A way to write the experiment in PyTorch."""
    environment: str  # which PyTorch: debian or current
    form: str         # of the solver, see tools/reference_model.py
    mode: str         # eager, or compile: network and one step of the solver by torch.compile
    shown: str        # in the table, after the version
    stride: int       # a search computes every so many values of the 81
    repeat: int       # runs in one turn
    memory_format: str = "contiguous_format"  # of the network in a training step

    def options(self):
        return ["--form", self.form, "--mode", self.mode, "--repeat", self.repeat, "--memory-format", self.memory_format]


TORCH = {
    "roll": Torch("debian", "roll", "eager", "roll", 3, 3),
    "convolution": Torch("debian", "convolution", "eager", "convolution", 10, 1),
    "published": Torch("debian", "published", "eager", "published", 27, 1),
    "eager": Torch("current", "roll", "eager", "roll, eager", 3, 3, "channels_last"),
    "compile": Torch("current", "roll", "compile", "roll, torch.compile", 3, 3, "channels_last"),
}
DEBIAN = tuple(name for name, contender in TORCH.items() if contender.environment == "debian")
SKIMAGE = {"chambolle": "scikit-image, Chambolle, isotropic", "bregman": "scikit-image, split Bregman, isotropic",
           "bregman_anisotropic": "scikit-image, split Bregman, anisotropic"}
CONTENDERS = (*TORCH, "skimage")


def environment_of(contender):
    return TORCH[contender].environment if contender in TORCH else "current"


def limited(threads):
    """The environment of a process that may use so many threads."""
    return dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))


def last_line(text, otherwise):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else otherwise


def run(command, threads):
    """(standard output, peak resident bytes) of a command; Failed with the last line of its errors."""
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        with subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                              env=limited(threads), cwd=ROOT) as process:
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode != 0:
            raise Failed(last_line(errors.read(), f"`{command[0]}` ended with {process.returncode}"))
    return output.decode(), usage.ru_maxrss * 1024


class Worker:
    """A measuring process (tools/compare_worker.py) that is warm and waits for its turns."""

    def __init__(self, command, threads, longest_start=LONGEST_START):
        """Returns when it is warm; Failed where it does not get there in so many seconds."""
        self.errors = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen([*(str(part) for part in command), "--serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, env=limited(threads), cwd=ROOT, text=True)
        late = threading.Event()
        watch = threading.Timer(longest_start, lambda: (late.set(), self.process.kill()))
        watch.start()
        try:
            self.answer()
        except Failed as reason:
            self.close()
            raise Failed(f"not ready after {longest_start} s" if late.is_set() else str(reason)) from None
        finally:
            watch.cancel()

    def answer(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        raise Failed(f"ended by signal {-code}" if code < 0 else last_line(self.errors.read(), f"ended with {code}"))

    def __call__(self):
        """One turn."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # (it has ended: the answer says why)
        return self.answer()

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def python_of_debian():
    """The interpreter that finds Debian's PyTorch, which serves the system's own; installs what is missing."""
    install = subprocess.run([TOOLS / "install", "torch"], stdin=subprocess.DEVNULL, stdout=sys.stderr,
                             stderr=subprocess.PIPE, text=True, check=False)
    for interpreter in ("/usr/bin/python3", "python3"):
        if subprocess.run([interpreter, "-c", "import torch, numpy, PIL"], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0:
            return interpreter
    raise Failed(last_line(install.stderr, "no python3 imports torch, numpy and PIL"))


def python_of_pypi():
    """The interpreter of the environment that tools/pytorch makes."""
    made = subprocess.run([TOOLS / "pytorch"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Failed(last_line(made.stderr, f"tools/pytorch ended with {made.returncode}"))
    return made.stdout.strip()


def environments(contenders, finders=None):
    """environment → interpreter for those that the contenders need, and a sentence for each that is not to be had."""
    pythons, left_out = {}, []
    for environment, find in (finders or {"debian": python_of_debian, "current": python_of_pypi}).items():
        needing = [name for name in contenders if environment_of(name) == environment]
        if not needing:
            continue
        try:
            pythons[environment] = find()
        except Failed as reason:
            left_out.append(f"Left out: {', '.join(needing)}: {reason}.")
    return pythons, left_out


def turns(count, starts, key, tell, around=contextlib.nullcontext):
    """contender → what it says in `count` rounds in which all take turns, each inside around(): see compare_table.summary().
    starts: contender → function that returns what measures it, which is closed at the end where it can be. One that fails is left
    out from then on; the program itself, tvmap…, must not fail. tell: takes lines of progress."""
    measures, results, failed = {}, {name: [] for name in starts}, {}
    with contextlib.ExitStack() as stack:
        def attempt(name, action):
            try:
                return action()
            except Failed as reason:
                if name.startswith("tvmap"):
                    raise
                tell(f"    {name}: failed: {reason}")
                failed[name] = {"failed": str(reason)}
                return None

        for name, start in starts.items():
            measure = attempt(name, start)
            if hasattr(measure, "close"):
                stack.callback(measure.close)
            measures[name] = measure
        for _ in range(count):
            for name in starts:
                if name in failed:
                    continue
                with around():
                    result = attempt(name, measures[name])
                if result:
                    results[name].append(result)
                    tell(f"    {name}: {result[key]:.4g}")
    return {name: failed.get(name) or summary(results[name], key) for name in starts}


class Measurements:
    """What can be measured of each contender. pythons: environment → interpreter. Rows are measured in the folder, where
    clean.npy, noisy.npy, lambda.npy and images/ lie."""

    def __init__(self, pythons, folder, threads, iterations, isa="auto"):
        self.pythons, self.folder, self.threads, self.iterations, self.isa = pythons, folder, threads, iterations, isa

    def torch_command(self, environment, task, *options):
        return [self.pythons[environment], TOOLS / "compare_torch.py", task, "--folder", self.folder, "--threads", self.threads,
                "--iterations", self.iterations, *options]

    def torch(self, environment, task, *options):
        return json.loads(run(self.torch_command(environment, task, *options), self.threads)[0])

    def torch_once(self, name, task, *options):
        """In a fresh process, cold, for its memory."""
        return self.torch(TORCH[name].environment, task, *TORCH[name].options(), *options, "--repeat", 1)

    def torch_worker(self, name, task, *options):
        contender = TORCH[name]
        return Worker(self.torch_command(contender.environment, task, *contender.options(), *options), self.threads)

    def skimage_worker(self, method):
        return Worker([self.pythons["current"], TOOLS / "compare_skimage.py", "denoise", "--method", method, "--folder",
                       self.folder, "--repeat", 11], 1)

    def skimage_versions(self):
        return json.loads(run([self.pythons["current"], TOOLS / "compare_skimage.py", "versions"], 1)[0])

    def agreement(self):
        """The distance between the program's gradient, as gradient() left it, and PyTorch's in double precision, relative."""
        environment, reference = next(iter(self.pythons)), self.folder / "gradient_reference.npy"
        self.torch(environment, "solver", "--dtype", "float64", "--out", reference)
        return self.torch(environment, "difference", "--files", self.folder / "gradient.npy", reference)["relative"]

    def tvmap(self, *options, threads=None):
        threads = threads or self.threads
        output, peak = run([PROGRAM, *options, "--isa", self.isa, "--threads", threads, "--json", "--quiet"], threads)
        return {**json.loads(output), "peak_bytes": peak}

    def gradient(self, repeat=21):
        return self.tvmap("gradient", self.folder / "noisy.npy", "--lambda", self.folder / "lambda.npy", "--target",
                          self.folder / "clean.npy", "--mode", "masks", "--iterations", self.iterations, "--repeat", repeat,
                          "--out", self.folder / "gradient.npy")

    def search(self, *options):
        return self.tvmap("search", self.folder / "noisy.npy", "--clean", self.folder / "clean.npy", "--from", 0, "--to", 0.8,
                          "--count", COUNT, "--iterations", self.iterations, "--repeat", 3, *options)

    def network(self):
        return self.tvmap("bench", "--filter", "network_step", "--seconds", 1)["kernels"][0]

    def program(self):
        """What the program says of itself and of the machine."""
        return self.tvmap("info")

    def step(self, crop=0, batch=1, precision="fp32"):
        """Whole steps as training does them, noise and reading included: the mean of an epoch that is neither the first nor one
        with validation."""
        images, run_folder, steps = self.folder / "images", self.folder / "run", 10
        shutil.rmtree(run_folder, ignore_errors=True)
        settings = {f"data.{part}": images for part in ("train", "val", "test")}
        settings |= {"data.limit.train": steps * batch, "data.limit.val": 1, "solver.iterations": self.iterations,
                     "train.crop": crop, "train.batch": batch, "network.precision": precision,
                     "train.epochs": 3, "train.validate_every": 100, "train.checkpoint_every": 100}
        overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        result = self.tvmap("train", ROOT / "configs" / "chest_xray.yaml", "--run", run_folder, *overrides)
        with open(run_folder / "metrics.csv", encoding="ascii", newline="") as metrics:
            result["seconds"] = float(list(csv.DictReader(metrics))[1]["seconds"]) / steps
        return result

    def solve(self, threads):
        """The solver alone with the best scalar λ, no flow over the border."""
        best = self.best_scalar
        return self.tvmap("solve", self.folder / "noisy.npy", "--lambda", best["lambda"], "--boundary", "neumann",
                          "--iterations", self.iterations, "--repeat", 21, "--out", self.folder / "solved.npy",
                          threads=threads) | {"psnr": best["best"], "weight": best["lambda"], "iterations": self.iterations}

    @functools.cached_property
    def best_scalar(self):
        return self.search("--boundary", "neumann")["images"][0]["psnr"]
