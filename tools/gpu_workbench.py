"""What tools/gpu-check runs on: the program and its tests (built here, or ready-made in a bundle), the result folder with
what earlier calls left there, the time that is left, and commands that keep to it."""
import ctypes
import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

BACKEND = "libtvmap_cuda.so"


class Failed(Exception):
    """A check that did not hold. `values` go into the record."""
    def __init__(self, summary, values=None):
        super().__init__(summary)
        self.values = values


class Skipped(Exception):
    """Not run, and why."""


class Unfinished(Exception):
    """The time was up; the next call goes on from here."""


def no_gpu():
    """Why there is no GPU to check, in one line; empty where there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"NVIDIA's driver is not there ({error})"
    count = ctypes.c_int(0)
    if status := driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return f"NVIDIA's driver finds none (error {status})"
    return "" if count.value > 0 else "NVIDIA's driver finds none"


@dataclasses.dataclass
class Binaries:
    """A program and the tests that belong to it."""
    program: pathlib.Path
    configs: pathlib.Path
    tests: dict  # name → executable

    @staticmethod
    def of_bundle(folder):
        folder = folder.resolve()
        if not (folder / "tvmap").is_file():
            raise Failed(f"{folder} holds no tvmap: make it by tools/bundle --with-tests")
        listed = folder / "tests" / "list.json"
        tests = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else []
        return Binaries(folder / "tvmap", folder / "configs",
                        {test["name"]: folder / "tests" / test["program"] for test in tests})

    @staticmethod
    def of_build(source, build):
        listed = subprocess.run(["ctest", "--test-dir", build, "-L", "^gpu$", "--show-only=json-v1"], check=True,
                                capture_output=True, text=True)
        return Binaries(build / "tvmap", source / "configs",
                        {test["name"]: pathlib.Path(test["command"][0]) for test in json.loads(listed.stdout)["tests"]})

    def key(self):
        """Names the build: results of another one do not count."""
        digest = hashlib.sha256()
        for file in (self.program, self.program.parent / BACKEND, self.program.parent / "lib" / BACKEND):
            if file.exists():
                digest.update(file.read_bytes())
        return digest.hexdigest()[:12]


@dataclasses.dataclass
class Workbench:
    binaries: Binaries
    out: pathlib.Path
    data: pathlib.Path = None  # with folders train, val, test
    quick: bool = False
    again: bool = False        # forget what earlier calls found
    time_limit: float = None   # seconds
    device: str = "cuda"
    python: str = None         # with PyTorch; looked for unless given
    settings: dict = dataclasses.field(default_factory=dict)  # of every training run, on top
    begin: float = dataclasses.field(default_factory=time.monotonic)

    def __post_init__(self):
        self.out = self.out.resolve()
        for folder in ("stages", "logs", "work"):
            (self.out / folder).mkdir(parents=True, exist_ok=True)
        self.work, self.logs = self.out / "work", self.out / "logs"
        self.key = self.binaries.key() + ("-quick" if self.quick else "")

    def time_left(self):
        return float("inf") if self.time_limit is None else self.time_limit - (time.monotonic() - self.begin)

    def run(self, command, log, limit=None):
        """(exit code, standard output) of a command; all it says goes to logs/LOG.txt. One that takes longer than `limit`
        fails. When the workbench's time is up it is interrupted, as by Ctrl-C: Unfinished."""
        left = self.time_left()
        if left <= 0:
            raise Unfinished("the time was up")
        command = [str(part) for part in command]
        path = self.logs / f"{log}.txt"
        output = path.with_suffix(".out")
        with open(path, "w", encoding="utf-8") as errors, open(output, "w", encoding="utf-8") as results:
            errors.write(f"$ {' '.join(command)}\n")
            errors.flush()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=results, stderr=errors, cwd=self.work,
                                       start_new_session=True)
            try:
                process.wait(min(left, limit or left) if min(left, limit or left) < float("inf") else None)
            except subprocess.TimeoutExpired:
                end(process)
                if limit and limit < left:
                    raise Failed(f"not done after {limit:.0f} s: see {path.name}") from None
                raise Unfinished("the time was up") from None
            except KeyboardInterrupt:
                end(process)
                raise
        text = output.read_text(encoding="utf-8", errors="replace")
        with open(path, "a", encoding="utf-8") as everything:
            everything.write(text)
        output.unlink()
        return process.returncode, text

    def said(self, log):
        """The last line that a command wrote to its log."""
        lines = (self.logs / f"{log}.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing said")

    def tvmap(self, log, *arguments, limit=None):
        """The program's JSON answer."""
        code, output = self.run([self.binaries.program, *arguments, "--json", "--quiet"], log, limit)
        if code == 130:
            raise Unfinished("interrupted")
        if code != 0:
            raise Failed(f"`tvmap {arguments[0]}` ended with {code}: {self.said(log)}")
        return json.loads(output)

    def images(self):
        """A folder of synthetic radiographs; always the same."""
        folder, count = self.work / "phantoms", 16 if self.quick else 256
        if not folder.exists() or len(list(folder.glob("*.png"))) < count:
            self.tvmap("phantoms", "phantoms", "--out", folder, "--count", count, "--seed", 1, "--size", 256)
        return folder

    def python_with_torch(self):
        """An interpreter whose PyTorch uses this GPU."""
        if self.python is None:
            folders = [os.environ.get("VIRTUAL_ENV"), *sorted(map(str, pathlib.Path("/opt").glob("*/.venv")))]
            candidates = ["python3", *(f"{folder}/bin/python3" for folder in folders if folder), sys.executable,
                          "/usr/bin/python3"]
            self.python = next(filter(self.has_torch, dict.fromkeys(candidates)), "")
        elif self.python and not self.has_torch(self.python):
            raise Failed(f"{self.python} imports no PyTorch that uses this GPU")
        if not self.python:
            raise Skipped("no python3 imports a PyTorch that uses this GPU; name one by --python")
        return self.python

    def has_torch(self, interpreter):
        test = "import torch, numpy" + ("; assert torch.cuda.is_available()" if self.device == "cuda" else "")
        try:
            return subprocess.run([interpreter, "-c", test], stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
                                  check=False).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False


def end(process):
    """Interrupts a command and what it started; whoever has not saved and left half a minute later is killed."""
    for how, patience in ((signal.SIGINT, 30), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, how)
            process.wait(patience)
            return
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            pass


# Records of the stages: OUT/stages/NAME.json = {"build", "items": {key: {"status", "summary", "seconds", "values"}}}.

def read_record(out, stage):
    path = out / "stages" / f"{stage}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_record(out, stage, record):
    write_text(out / "stages" / f"{stage}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def write_text(path, text):
    """Never half a file: a call may be killed at any moment."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def run_stage(workbench, stage, items, report):
    """Runs what no earlier call of the same build has passed, and keeps a record."""
    record = read_record(workbench.out, stage)
    if record is None or record["build"] != workbench.key or workbench.again:
        record = {"build": workbench.key, "items": {}}
    record["when"] = time.strftime("%Y-%m-%d %H:%M:%S")
    earlier, record["items"] = record["items"], {}
    for key, work in items:
        if earlier.get(key, {}).get("status") == "passed":
            record["items"][key] = earlier[key]
            continue
        begin, values = time.monotonic(), None
        try:
            values = work()
            status, summary = "passed", values.pop("summary")
        except Failed as error:
            status, summary, values = "failed", str(error), error.values
        except Skipped as reason:
            status, summary = "skipped", str(reason)
        except Unfinished as reason:
            status, summary = "unfinished", str(reason)
        except (OSError, ValueError, KeyError, IndexError, TypeError, subprocess.SubprocessError) as error:
            status, summary = "failed", f"{type(error).__name__}: {error}"  # an answer of another form than expected
        item = {"status": status, "summary": summary, "seconds": round(time.monotonic() - begin, 3), "values": values}
        record["items"][key] = item
        # What is still to come keeps its earlier result, should this call be killed.
        write_record(workbench.out, stage, {**record, "items": {**earlier, **record["items"]}})
        report(stage, key, item)
    write_record(workbench.out, stage, record)
    return record
