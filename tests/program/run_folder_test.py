#!/usr/bin/env python3
"""A run folder belongs to one run, its images and one process at a time: other images are noticed and moved ones are
not, a schedule changes only when asked by name, a lost config.yaml loses nothing, and two processes never train in one
folder. Needs Python's own library alone."""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

PROGRAM = os.environ["TVMAP"]
SIDE = 16
CONFIG = """
data: {{train: {0}/train, val: {0}/val, test: {0}/val, size: 16, limit: {{train: 4, val: 2, test: 1}}}}
network: {{channels: [4]}}
solver: {{iterations: 4}}
optimiser: {{rate: 1e-3}}
train: {{epochs: 2, batch: 2}}
evaluate: {{iterations: 4, search: {{count: 3}}}}
"""
failures = []


def check(condition, message):
    if not condition:
        failures.append(message)
        print("FAILED:", message)


def write_png(path, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0))
                     + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def read_safetensors(path):
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:8 + length])["__metadata__"], content[8 + length:]


def contents(folder):
    """All files but the lock's, which a killed process leaves and the next one clears."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name != ".tvmap-lock"}


class Workshop:
    """Pictures, a configuration and runs in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
        draw = random.Random(1)
        self.pictures = {name: [[[draw.randrange(256) for _ in range(SIDE)] for _ in range(SIDE)] for _ in range(count)]
                         for name, count in (("train", 4), ("val", 2))}
        for name in self.pictures:
            self.write(name, lambda rows: rows)
        (folder / "config.yaml").write_text(CONFIG.format(folder))

    def write(self, name, change, only=None):
        """Writes the pictures of train or val, each changed (or only the one of this number)."""
        (self.folder / name).mkdir(exist_ok=True)
        for i, rows in enumerate(self.pictures[name]):
            write_png(self.folder / name / f"{i}.png", rows if only not in (None, i) else change(rows))

    def command(self, run, *arguments):
        return [PROGRAM, "train", str(self.folder / "config.yaml"), "--run", str(self.folder / run), "--threads", "1",
                "--quiet", *arguments]

    def train(self, run, *arguments):
        return subprocess.run(self.command(run, *arguments), env=self.environment, capture_output=True, text=True, timeout=60)

    def start(self, run, *arguments, **environment):
        return subprocess.Popen(self.command(run, *arguments), env={**self.environment, **environment},
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def works(self, run, *arguments):
        result = self.train(run, *arguments)
        check(result.returncode == 0, f"{run} {arguments}: {result.stderr}")
        return result

    def refuses(self, run, arguments, *parts):
        before = contents(self.folder)
        result = self.train(run, *arguments)
        what = f"{run} {arguments}: exit {result.returncode}, {result.stderr!r}"
        check(result.returncode == 1 and result.stderr.count("\n") == 1, f"{what}; expected exit 1 and one line")
        for part in parts:
            check(part in result.stderr, f"{what}; expected {part!r}")
        after = contents(self.folder)
        check(after == before, f"{what}; changed {[name for name in {**before, **after} if before.get(name) != after.get(name)]}")

    def checkpoint(self, run, name="last"):
        return read_safetensors(self.folder / run / "checkpoints" / f"{name}.safetensors")

    def text(self, run, name):
        return (self.folder / run / name).read_text()

    def rates(self, run):
        return [float(line.split(",")[3]) for line in self.text(run, "metrics.csv").splitlines()[1:]]


def images_are_known_by_their_content(w):
    changes = {
        "mirrored": lambda rows: [row[::-1] for row in rows],
        "rotated": lambda rows: [list(row)[::-1] for row in rows[::-1]],
        "inverted": lambda rows: [[255 - v for v in row] for row in rows],
        "shifted": lambda rows: rows[1:] + rows[:1],
        "transposed": lambda rows: [list(row) for row in zip(*rows)],
    }
    w.works("images")
    for kind, change in changes.items():
        for name, only in (("train", None), ("train", 2), ("val", None), ("val", 1)):
            w.write(name, change, only)
            print(kind, name, only)
            w.refuses("images", ["--resume"], f"data.{name}", "images")
            w.write(name, lambda rows: rows)
    w.works("images", "--resume")


def moved_images_are_the_same(w):
    w.works("whole", "--set", "train.epochs=3")
    w.works("moved")
    for name in ("train", "val"):
        shutil.copytree(w.folder / name, w.folder / "elsewhere" / name)
    settings = [part for name in ("train", "val") for part in ("--set", f"data.{name}={w.folder}/elsewhere/{name}")]
    w.works("moved", "--resume", "--set", "train.epochs=3", *settings)
    check(w.checkpoint("moved")[1] == w.checkpoint("whole")[1], "a run that goes on with moved images: other weights")
    check(f"{w.folder}/elsewhere/train" in w.text("moved", "config.yaml"), "config.yaml names the folder before the move")


def schedules_change_by_name(w):
    cosine = ["--set", "optimiser.schedule=cosine"]
    longer = ["--resume", *cosine, "--set", "train.epochs=4"]
    w.works("cosine", *cosine)
    rates = w.rates("cosine")
    w.refuses("cosine", longer, "train.epochs", "2", "4", "--change train.epochs")
    w.refuses("cosine", [*longer, "--change", "optimiser.rate"], "optimiser.rate", "train.epochs")
    result = w.train("new", "--change", "train.epochs")
    check(result.returncode == 2 and "--resume" in result.stderr, f"--change without --resume: {result}")
    w.works("cosine", *longer, "--change", "train.epochs")
    check(w.rates("cosine")[:2] == rates and len(w.rates("cosine")) == 4, f"rates {rates} became {w.rates('cosine')}")
    record = "train.epochs: 2 -> 4 at step 4"
    for place, text in (("log.txt", w.text("cosine", "log.txt")), ("config.yaml", w.text("cosine", "config.yaml")),
                        ("the checkpoint", w.checkpoint("cosine")[0].get("tvmap.changes", ""))):
        check(text.count(record) == 1, f"{place} does not say once {record!r}: {text}")
    w.works("cosine", *longer)  # from here on it is the run's own setting
    w.works("cosine", *longer, "--change", "train.epochs")
    check(w.text("cosine", "config.yaml").count(record) == 1, "a change that has happened is recorded again")
    w.refuses("cosine", ["--resume", *cosine], "train.epochs")

    # A constant rate has no end to move: more epochs change nothing before them, and the log says so.
    w.works("constant")
    w.works("constant", "--resume", "--set", "train.epochs=3")
    check("train.epochs: 2 -> 3" in w.text("constant", "log.txt"), "log.txt does not name the epochs before")


def changes_survive_a_kill(w):
    """The record is safe before the first step of the new schedule."""
    cosine = ["--set", "optimiser.schedule=cosine"]
    w.works("killed_change", *cosine)
    process = w.start("killed_change", "--resume", *cosine, "--set", "train.epochs=2000000", "--set",
                      "train.checkpoint_every=2000000", "--change", "train.epochs")
    wait_for(lambda: len(w.rates("killed_change")) > 3, process)
    process.kill()
    process.communicate()
    check("train.epochs: 2 -> 2000000 at step 4" in w.checkpoint("killed_change")[0].get("tvmap.changes", ""),
          "a killed process loses the record of a change")
    w.refuses("killed_change", ["--resume", *cosine], "train.epochs")


def a_lost_configuration_loses_nothing(w):
    w.works("whole3", "--set", "train.epochs=3")
    w.works("lost")
    before = contents(w.folder / "lost")
    (w.folder / "lost/config.yaml").unlink()
    w.refuses("lost", [], "lost", "--resume")
    w.refuses("lost", ["--resume", "--set", "optimiser.rate=2e-3"], "lost/checkpoints/last.safetensors", "rate")
    w.works("lost", "--resume")
    check(w.checkpoint("lost") == read_bytes(before, "checkpoints/last.safetensors"), "checkpoints are trained over")
    check(w.text("lost", "config.yaml").encode() == before["config.yaml"], "config.yaml does not come back")

    # The best checkpoint alone is a place to go on from as well.
    for name in ("config.yaml", "checkpoints/last.safetensors"):
        (w.folder / "lost" / name).unlink()
    epoch = int(w.checkpoint("lost", "best")[0]["tvmap.epoch"])
    w.refuses("lost", [], "lost", "--resume")
    w.works("lost", "--resume", "--set", "train.epochs=3")
    resumed = re.findall(r"^resumed.*", w.text("lost", "log.txt"), re.M)[-1]
    check(f"at epoch {epoch + 1}," in resumed, f"it does not go on from the best checkpoint: {resumed}")
    check(w.checkpoint("lost")[1] == w.checkpoint("whole3")[1], "from the best checkpoint: other weights")

    # What no run of this configuration wrote stays.
    for file in ("best", "last"):
        w.works("foreign")
        (w.folder / "foreign/config.yaml").unlink()
        for name in ("best", "last"):
            if name != file:
                (w.folder / f"foreign/checkpoints/{name}.safetensors").unlink()
        header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
        (w.folder / f"foreign/checkpoints/{file}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        w.refuses("foreign", ["--resume"], f"foreign/checkpoints/{file}.safetensors")
        w.refuses("foreign", [], "foreign")
        shutil.rmtree(w.folder / "foreign")
    w.works("foreign")
    shutil.copy(w.folder / "cosine/checkpoints/best.safetensors", w.folder / "foreign/checkpoints/best.safetensors")
    w.refuses("foreign", ["--resume", "--set", "train.epochs=3"], "foreign/checkpoints/best.safetensors")


def read_bytes(before, name):
    length = struct.unpack("<Q", before[name][:8])[0]
    return json.loads(before[name][8:8 + length])["__metadata__"], before[name][8 + length:]


def wait_for(condition, process):
    limit = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            sys.exit(f"run_folder_test: nothing happens (exit code {process.poll()}): {process.stderr.read()}")
        time.sleep(0.01)


def one_process_at_a_time(w):
    long = ["--set", "train.epochs=2000000", "--set", "train.checkpoint_every=2000000"]
    first = w.start("locked", *long)
    wait_for(lambda: (w.folder / "locked/metrics.csv").exists() and len(w.rates("locked")) > 1, first)
    for arguments in ([*long, "--resume"], long):
        second = w.start("locked", *arguments)
        try:
            said = second.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            second.kill()
            said = "it trains: " + second.communicate()[1]
        check(second.returncode == 1 and said.count("\n") == 1 and str(first.pid) in said and socket.gethostname() in said,
              f"second process in a run: {said}")
    rows = len(w.rates("locked"))
    wait_for(lambda: len(w.rates("locked")) > rows, first)
    first.kill()
    first.communicate()
    # What a killed process left is no alarm, nor what another machine did.
    w.works("locked", "--resume", "--set", "train.epochs=1")
    (w.folder / "locked/.tvmap-lock").write_text("process 1 on some-other-machine\n")
    w.works("locked", "--resume", "--set", "train.epochs=1")
    first = w.start("stopped", *long)
    wait_for(lambda: (w.folder / "stopped/metrics.csv").exists() and w.rates("stopped"), first)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    check(first.returncode == 130, f"Ctrl-C: exit {first.returncode}")
    w.works("stopped", "--resume", "--set", "train.epochs=1")


def two_starts_into_a_new_folder(w):
    for attempt in range(4):
        run = f"new_{attempt}"
        # With nothing cached, much time passes between looking at the folder and beginning the run.
        both = [w.start(run, "--set", "train.epochs=20", "--set", "network.channels=[4,5,6]", *(["--resume"] if attempt % 2 else []),
                        XDG_CACHE_HOME=f"{w.folder}/cache_{run}_{process}") for process in "ab"]
        errors = [process.communicate(timeout=120)[1] for process in both]
        codes = sorted(process.returncode for process in both)
        # With --resume the later one may find a finished run, which is no failure; it trains nothing either.
        check(codes == [0, 1] or (attempt % 2 and codes == [0, 0]), f"two starts: exit codes {codes}, {errors}")
        log = w.text(run, "log.txt")
        check(len(re.findall(r"^started", log, re.M)) == 1 and log.count("finished after") == 1, f"two starts: {log}")
        check(len(w.rates(run)) == 20, "two starts: rows of both")


with tempfile.TemporaryDirectory() as scratch:
    workshop = Workshop(pathlib.Path(scratch))
    for test in (images_are_known_by_their_content, moved_images_are_the_same, schedules_change_by_name, changes_survive_a_kill,
                 a_lost_configuration_loses_nothing, one_process_at_a_time, two_starts_into_a_new_folder):
        if len(sys.argv) < 2 or test.__name__ in sys.argv[1:]:
            print(test.__name__)
            test(workshop)
sys.exit(f"{len(failures)} failures" if failures else 0)
