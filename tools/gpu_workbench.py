"""What tools/gpu-check runs on: the program and its tests (built here, or ready-made in a bundle), the result folder with
what earlier calls left there, the time that is left, and commands that keep to it."""
import concurrent.futures
import contextlib
import ctypes
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import gpu_archive

LIBC = ctypes.CDLL(None)
BACKEND = "libtvmap_cuda.so"
COMPARE_TORCH = pathlib.Path(__file__).resolve().parent / "compare_torch.py"


class Failed(Exception):
    """A check that did not hold. `values` go into the record."""
    def __init__(self, summary, values=None):
        super().__init__(summary)
        self.values = values


class TooLong(Failed):
    """A command that its own limit has stopped; `output` is what it had said by then."""
    def __init__(self, summary, output):
        super().__init__(summary)
        self.output = output


class Skipped(Exception):
    """Not run, and why."""


class Unfinished(Exception):
    """The time was up; the next call goes on from here. `values` are what has been reached."""
    def __init__(self, summary, values=None):
        super().__init__(summary)
        self.values = values


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


@functools.cache
def gpu_name():
    """Of the first GPU; empty where there is none."""
    if no_gpu():
        return ""
    name = ctypes.create_string_buffer(256)
    status = ctypes.CDLL("libcuda.so.1").cuDeviceGetName(name, 256, 0)
    return "" if status else name.value.decode(errors="replace")


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
    data: pathlib.Path = None  # with folders train, val, test; or a tar file of one
    quick: bool = False
    again: bool = False        # forget what earlier calls found
    time_limit: float = None   # seconds
    device: str = "cuda"
    python: str = None         # with PyTorch; looked for unless given
    settings: dict = dataclasses.field(default_factory=dict)  # of every training run, on top
    begin: float = dataclasses.field(default_factory=time.monotonic)
    tick: object = lambda: None  # called some times a second while a command runs (several at once: not)

    def __post_init__(self):
        self.out = self.out.resolve()
        for folder in ("stages", "logs", "work", "cache"):
            (self.out / folder).mkdir(parents=True, exist_ok=True)
        self.work, self.logs = self.out / "work", self.out / "logs"
        self.key = self.binaries.key() + ("-quick" if self.quick else "")
        self.stop = threading.Event()  # set by whoever interrupts the call
        self.ends, self.why = float("inf"), ""
        if self.time_limit is not None:
            self.ends, self.why = self.begin + self.time_limit, "the time was up"
        self.torch = None
        if self.data:
            gpu_archive.pictures(self.data, self.work / "data")

    @contextlib.contextmanager
    def at_most(self, seconds, why):
        """Inside, the time is up after `seconds` at the latest."""
        before = self.ends, self.why
        if seconds is not None and time.monotonic() + seconds < self.ends:
            self.ends, self.why = time.monotonic() + seconds, why
        try:
            yield
        finally:
            self.ends, self.why = before

    def time_left(self):
        return 0 if self.stop.is_set() else max(0, self.ends - time.monotonic())

    def unfinished(self):
        return Unfinished("interrupted" if self.stop.is_set() else self.why)

    def run(self, command, log, limit=None):
        """(exit code, standard output) of a command; all it says goes to logs/LOG.txt. One that takes longer than `limit`
        seconds fails: TooLong. When the workbench's time is up it is interrupted, as by Ctrl-C: Unfinished. May be called by
        several threads at once."""
        if self.time_left() <= 0:
            raise self.unfinished()
        command = [str(part) for part in command]
        path = self.logs / f"{log}.txt"
        output = path.with_suffix(".out")
        try:
            with open(path, "w", encoding="utf-8") as errors, open(output, "w", encoding="utf-8") as results:
                errors.write(f"$ {' '.join(command)}\n")
                errors.flush()
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=results, stderr=errors, cwd=self.work,
                                           start_new_session=True, preexec_fn=die_with_parent,
                                           env={**os.environ, "XDG_CACHE_HOME": str(self.out / "cache")})
                stopped = self.wait(process, limit)
            text = output.read_text(encoding="utf-8", errors="replace")
            with open(path, "a", encoding="utf-8") as everything:
                everything.write(text)
        finally:
            output.unlink(missing_ok=True)
        if stopped == "limit":
            raise TooLong(f"not done after {limit:.0f} s: see {path.name}", text)
        if stopped:
            raise self.unfinished()
        return process.returncode, text

    def wait(self, process, limit):
        """What has stopped a process: nothing, its `limit`, or the workbench's `time`."""
        end_of_limit = time.monotonic() + (float("inf") if limit is None else limit)
        while True:
            try:
                process.wait(min(0.2, max(0.01, end_of_limit - time.monotonic()), max(0.01, self.time_left())))
                return ""
            except subprocess.TimeoutExpired:
                if self.time_left() <= 0 or time.monotonic() >= end_of_limit:
                    reason = "time" if self.time_left() <= 0 else "limit"
                    end(process)
                    return reason
                if threading.current_thread() is threading.main_thread():
                    self.tick()

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
        """An interpreter whose PyTorch uses this GPU; `torch` are its versions then."""
        if self.torch is None:
            folders = [os.environ.get("VIRTUAL_ENV"), *sorted(map(str, pathlib.Path("/opt").glob("*/.venv")))]
            found = ["python3", *(f"{folder}/bin/python3" for folder in folders if folder), sys.executable, "/usr/bin/python3"]
            for candidate in [self.python] if self.python else dict.fromkeys(found):
                if versions := self.torch_versions(candidate):
                    self.python, self.torch = candidate, versions
                    break
            else:
                if self.python:
                    raise Failed(f"{self.python} imports no PyTorch that uses this GPU: {self.said('pytorch')}")
                self.torch = {}
        if not self.torch:
            raise Skipped("no python3 imports a PyTorch that uses this GPU; name one by --python")
        return self.python

    def torch_versions(self, interpreter):
        try:
            code, output = self.run([interpreter, COMPARE_TORCH, "versions", "--device", self.device], "pytorch", 120)
            return json.loads(output) if code == 0 else None
        except (OSError, ValueError, TooLong):
            return None


def die_with_parent():
    """For a command, before it starts: whoever kills the call, by kill -9 even, kills it too; nothing goes on writing into a
    folder that nobody keeps in order."""
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def end(process):
    """Interrupts a command and what it started; whoever has not saved and left 15 s later is killed."""
    for how, patience in ((signal.SIGINT, 15), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, how)
            process.wait(patience)
            return
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            pass


# Records of the stages: OUT/stages/NAME.json = {"build", "items": {key: {"status", "summary", "seconds", "values", "machine"}}}.

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


def outcome(work):
    """The record of an item."""
    begin, values = time.monotonic(), None
    try:
        values = work()
        status, summary = "passed", values.pop("summary")
    except Failed as error:
        status, summary, values = "failed", str(error), error.values
    except Skipped as reason:
        status, summary = "skipped", str(reason)
    except Unfinished as reason:
        status, summary, values = "unfinished", str(reason), reason.values
    except (OSError, ValueError, KeyError, IndexError, TypeError, subprocess.SubprocessError) as error:
        status, summary = "failed", f"{type(error).__name__}: {error}"  # an answer of another form than expected
    return {"status": status, "summary": summary, "seconds": round(time.monotonic() - begin, 3), "values": values,
            "machine": gpu_name()}


def outcomes(workbench, items, parallel):
    """(key, record) of every item, as they end."""
    if parallel == 1:
        for key, work in items:
            yield key, outcome(work)
        return
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        found = {pool.submit(outcome, work): key for key, work in items}
        for done in concurrent.futures.as_completed(found):
            yield found[done], done.result()


def run_stage(workbench, stage, items, report, parallel=1, limit=None):
    """Runs what no earlier call of the same build has passed, `parallel` items at once, and keeps a record. What is not done
    within `limit` seconds is left for the next call. `report` is told of each item once it is on record."""
    record = read_record(workbench.out, stage)
    if record is None or record["build"] != workbench.key or workbench.again:
        record = {"build": workbench.key, "items": {}}
    record["when"] = time.strftime("%Y-%m-%d %H:%M:%S")
    known, order = record["items"], [key for key, _ in items]
    left = [(key, work) for key, work in items if known.get(key, {}).get("status") != "passed"]
    with workbench.at_most(limit, f"postponed: the {limit or 0:.0f} s for {stage} were up"):
        for key, item in outcomes(workbench, left, parallel):
            # What is still to come keeps its earlier result, should this call be killed. A failure stays until it is judged anew.
            if item["status"] != "unfinished" or known.get(key, item)["status"] != "failed":
                known[key] = item
            write_record(workbench.out, stage, record)
            report(stage, key, item)
    record["items"] = {key: known[key] for key in order}
    write_record(workbench.out, stage, record)
    return record
