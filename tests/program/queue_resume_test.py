#!/usr/bin/env python3
"""Kills a cross-validation (SIGKILL) at random moments, interrupts it (SIGINT), and goes on with it after each: what is finished
is not done again, and tables, evaluations and weights end with the bits of an undisturbed one. So does a sweep.
Environment: TVMAP, the program; SEED, to repeat the moments of an earlier run."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PROGRAM = os.environ["TVMAP"]
FOLDS, KILLS = 4, 8
CONFIG = """
data: {{train: {0}/images, val: {0}/others, size: 32, folds: {1}, limit: {{train: 12, val: 2}}}}
network: {{channels: [8, 8]}}
solver: {{iterations: 64}}
optimiser: {{schedule: cosine}}
train: {{epochs: {2}, checkpoint_seconds: 0}}
evaluate: {{iterations: 64, search: {{count: 41}}}}
output: {{folder: {0}, name: queue}}
"""
SWEEP = "sweep: {optimiser.rate: [1e-3, 2e-3, 3e-3]}\n"


class Work:
    def __init__(self, folder):
        self.folder = folder
        # A cache of algorithms of their own, filled before, so that all processes take the same ones.
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
        for name, count, seed in (("images", 12, 1), ("others", 2, 2)):
            subprocess.run([PROGRAM, "phantoms", "--out", folder / name, "--count", str(count), "--size", "32", "--seed",
                            str(seed), "--quiet"], check=True)
        (folder / "folds.yaml").write_text(CONFIG.format(folder, FOLDS, 40))
        (folder / "sweep.yaml").write_text(CONFIG.format(folder, 0, 150) + SWEEP)
        self.finish(self.start("folds", "first", "--set", "train.epochs=1"))
        self.finish(self.start("sweep", "first_sweep", "--set", "train.epochs=1"))

    def start(self, kind, name, *arguments):
        return subprocess.Popen([PROGRAM, "train", self.folder / f"{kind}.yaml", "--run", self.folder / name, "--threads", "1",
                                 "--quiet", *arguments], env=self.environment, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def undisturbed(self, kind, name):
        """How many seconds it takes."""
        begun = time.monotonic()
        self.finish(self.start(kind, name))
        duration = time.monotonic() - begun
        print(f"{kind}: undisturbed {duration:.1f} s", flush=True)
        return duration

    def finish(self, process):
        error = process.communicate(timeout=300)[1]
        assert process.returncode == 0, f"exit code {process.returncode}: {error}"
        return error


def pieces(queue):
    path = queue / "pieces.json"
    return set(json.loads(path.read_text())["pieces"]) if path.exists() else set()


def marks(queue):
    """Of each finished piece, what would change if it were done again."""
    found = {}
    for piece in pieces(queue):
        kind, _, run = piece.partition(" of ")
        place = queue / run
        files = {"training": ["checkpoints/last.safetensors", "checkpoints/best.safetensors", "metrics.csv", "log.txt"],
                 "test": ["evaluation/per_image.csv", "evaluation/summary.csv"]}[kind]
        found[piece] = [(place / file).stat().st_mtime_ns for file in files]
    return found


def results(queue):
    """What must not depend on interruptions: all but clocks."""
    files = [queue / name for name in ("pieces.csv", "folds.csv", "table.md")]
    for place in queue.rglob("evaluation"):
        files += [place / name for name in ("per_image.csv", "summary.csv", "summary.txt", "config.yaml")]
    files += list(queue.rglob("*.safetensors")) + list(queue.rglob("*.txt"))
    return {str(path.relative_to(queue)): content_of(path).replace(os.fsencode(queue), b"QUEUE") for path in files
            if path.exists() and path.name != "log.txt"}


def content_of(path):
    """Of a checkpoint without its header, which names the folder."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little"):] if path.suffix == ".safetensors" else content


def no_half_files(queue):
    """All that has a name is whole: JSON can be read, every row of a table is as long as its header."""
    if (queue / "pieces.json").exists():
        json.loads((queue / "pieces.json").read_text())
    for path in queue.glob("*.csv"):
        lines = path.read_text().splitlines()
        assert len({line.count(",") for line in lines}) == 1, f"{path}: {lines}"


def wait_until(condition, process, seconds):
    """Whether it came to hold while the process ran."""
    limit = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.002)
    return False


def stopped(work, kind, name, draw, seconds, count):
    """Stops the work `count` times, every third time by SIGINT, each within a part of the `seconds` that a run takes; gives how
    many pieces each time found finished."""
    queue = work.folder / name
    before, found = {}, []
    for stop in range(count):
        process = work.start(kind, name, "--resume")
        had = len(pieces(queue))
        if stop > 1:  # the first two anywhere at the beginning, the others behind a piece more, by turns
            wait_until(lambda: len(pieces(queue)) > had + stop % 2, process, 60)
        time.sleep(draw.uniform(0, seconds / (4 if stop > 1 else 1)))
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[1]
            break
        how = signal.SIGINT if stop % 3 == 2 else signal.SIGKILL
        process.send_signal(how)
        error = process.communicate(timeout=120)[1]
        if how == signal.SIGINT:
            assert process.returncode in (130, 0), (process.returncode, error)
        no_half_files(queue)
        now = marks(queue)
        assert {piece: now.get(piece) for piece in before} == before, f"a finished piece was done again: {before} {now}"
        before = now
        found.append(len(now))
    work.finish(work.start(kind, name, "--resume"))
    now = marks(queue)
    assert {piece: now[piece] for piece in before} == before, "a finished piece was done again"
    print(f"{kind}: stopped {len(found)} times, with {found} pieces finished of {len(now)}")
    return found


def compare(one, other):
    a, b = results(one), results(other)
    assert a.keys() == b.keys(), set(a) ^ set(b)
    differing = [name for name in a if a[name] != b[name]]
    assert not differing, f"other bits: {differing}"


def check_again(work, queue):
    """A finished queue does nothing but write its tables; a test whose results were changed is made again."""
    before, expected = marks(queue), results(queue)
    work.finish(work.start("folds", queue.name, "--resume"))
    assert marks(queue) == before, "a finished piece was done again"
    path = queue / "fold-2/evaluation/per_image.csv"
    path.write_text(path.read_text().replace("phantom", "other"))
    work.finish(work.start("folds", queue.name, "--resume"))
    now = marks(queue)
    assert [piece for piece in now if now[piece] != before[piece]] == ["test of fold-2"], "something else was done again"
    assert results(queue) == expected
    table = queue / "pieces.csv"
    changed = table.read_text().replace(",", ";")
    table.write_text(changed)
    error = work.finish(work.start("folds", queue.name, "--resume"))
    assert "pieces.1.csv" in error and (queue / "pieces.1.csv").read_text() == changed, error
    (queue / "pieces.1.csv").unlink()
    assert results(queue) == expected
    # Another measurement: tested again, not trained again.
    rates = [(queue / f"fold-{fold}/metrics.csv").read_bytes() for fold in range(1, FOLDS + 1)]
    work.finish(work.start("folds", queue.name, "--resume", "--set", "evaluate.search.count=21"))
    assert [(queue / f"fold-{fold}/metrics.csv").read_bytes() for fold in range(1, FOLDS + 1)] == rates
    assert results(queue)["evaluation/per_image.csv"] != expected["evaluation/per_image.csv"]


def check_one_at_a_time(work):
    process = work.start("folds", "locked")
    assert wait_until(lambda: (work.folder / "locked/pieces.json").exists(), process, 60)
    second = work.start("folds", "locked", "--resume")
    error = second.communicate(timeout=60)[1]
    assert second.returncode == 1 and error.count("\n") == 1 and "locked" in error, (second.returncode, error)
    process.kill()
    process.communicate()
    shutil.rmtree(work.folder / "locked")


def main():
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"seed {seed}", flush=True)
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        work = Work(pathlib.Path(os.path.realpath(name)))
        check_one_at_a_time(work)
        piece = work.undisturbed("folds", "whole") / FOLDS
        found = stopped(work, "folds", "parts", draw, piece, KILLS)
        assert len(found) >= 4 and any(0 < count < 2 * FOLDS for count in found), f"the stops came too late: {found}"
        compare(work.folder / "whole", work.folder / "parts")
        check_again(work, work.folder / "parts")

        piece = work.undisturbed("sweep", "swept") / 3
        found = stopped(work, "sweep", "swept_parts", draw, piece, 5)
        assert any(0 < count < 3 for count in found), f"the stops came too late: {found}"
        compare(work.folder / "swept", work.folder / "swept_parts")
    print("the same bits")


if __name__ == "__main__":
    sys.exit(main())
