#!/usr/bin/env python3
"""Kills a training run ten times (SIGKILL), interrupts it once (SIGINT), resumes it after each, and demands the
same bits as an uninterrupted run: last and best checkpoint as whole files, metrics.csv but for its seconds. The last
checkpoint is written every few epochs, so that the kills find the best one behind it and ahead of it.
Environment: TVMAP, the program; SEED, to repeat the moments of an earlier run."""
import json
import os
import pathlib
import random
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

PROGRAM = os.environ["TVMAP"]
KILLS = 10
EPOCHS = 100
CONFIG = """
data: {{train: {0}/images, val: {0}/images, test: {0}/images, size: 64, limit: {{train: 8, val: 2, test: 1}}}}
network: {{channels: [8, 8]}}
solver: {{iterations: 64}}
optimiser: {{rate: 5e-5, schedule: cosine, warmup: 100}}
train: {{epochs: {1}, flip: true, validate_every: 3, checkpoint_every: 2, checkpoint_seconds: {2}}}
evaluate: {{iterations: 32}}
"""


def wait_until(condition, process, what):
    """Polls; gives up when the process ends or after a minute."""
    limit = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            sys.exit(f"resume_test: no {what} (exit code {process.poll()}): {process.stderr.read().decode()}")
        time.sleep(0.002)


class Runs:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        # A cache of algorithms of their own, so that all processes take the same ones.
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"))
        self.configure(0)
        subprocess.run([PROGRAM, "phantoms", "--out", self.folder / "images", "--count", "8", "--size", "64",
                        "--seed", "1", "--quiet"], check=True)
        # Fills the cache, so that planning takes every process equally long, and times an epoch without validation.
        subprocess.run([PROGRAM, "train", self.folder / "config.yaml", "--set", "train.epochs=8", "--run",
                        self.folder / "timed", "--threads", "1", "--quiet"], check=True, env=self.environment)
        rows = [line.split(",") for line in (self.folder / "timed" / "metrics.csv").read_text().splitlines()[1:]]
        self.configure(3 * statistics.median(float(row[-1]) for row in rows if not row[4]))

    def configure(self, seconds):
        """With a last checkpoint at most so often."""
        (self.folder / "config.yaml").write_text(CONFIG.format(self.folder, EPOCHS, seconds))

    def start(self, name, *arguments):
        """One thread: so small a network gains nothing from a second."""
        return subprocess.Popen([PROGRAM, "train", self.folder / "config.yaml", "--run", self.folder / name,
                                 "--threads", "1", "--quiet", *arguments], env=self.environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def starts(self, name):
        """How often a process of this run has begun to train."""
        log = self.folder / name / "log.txt"
        lines = log.read_text().splitlines() if log.exists() else []
        return sum(line.startswith(("started", "resumed")) for line in lines)

    def epochs(self, name):
        """Rows of its metrics."""
        metrics = self.folder / name / "metrics.csv"
        return len(metrics.read_text().splitlines()) - 1 if metrics.exists() else 0

    def finish(self, process):
        error = process.communicate()[1].decode()
        if process.returncode != 0:
            sys.exit(f"resume_test: exit code {process.returncode}: {error}")

    def checkpoint(self, name, which):
        return (self.folder / name / "checkpoints" / f"{which}.safetensors").read_bytes()

    def steps(self, name, which):
        """That a checkpoint has reached, 0 where there is none."""
        try:
            with open(self.folder / name / "checkpoints" / f"{which}.safetensors", "rb") as file:
                header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        except FileNotFoundError:
            return 0
        return int(header["__metadata__"]["tvmap.steps"])

    def later(self, name):
        """Which checkpoint is of a later step than the other, if one is."""
        last, best = self.steps(name, "last"), self.steps(name, "best")
        return "last" if last > best else "best" if best > last else None

    def metrics(self, name):
        lines = (self.folder / name / "metrics.csv").read_text().splitlines()
        return [line.rpartition(",")[0] for line in lines]


def main():
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    draw = random.Random(seed)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(folder)
        launched = time.monotonic()
        whole = runs.start("whole")
        wait_until(lambda: runs.starts("whole"), whole, "start of training")
        training = time.monotonic()
        runs.finish(whole)
        epoch = (time.monotonic() - training) / EPOCHS
        print(f"planning {training - launched:.2f} s, an epoch {epoch:.4f} s")

        # One kill while the process reads and plans, one in the first epoch, the others after drawn epochs of the
        # first half, so that none of them finds the run finished. By turns they wait until the best checkpoint is ahead of
        # the last, or the other way round; where that does not come soon, for a moment drawn from about one epoch.
        targets = [0] + sorted(draw.sample(range(1, EPOCHS // 2), KILLS - 1))
        before_checkpoint = 0
        later = {"last": 0, "best": 0, None: 0}
        for kill in range(KILLS):
            begun = runs.starts("parts")
            process = runs.start("parts", "--resume")
            if kill == 0:
                time.sleep(draw.uniform(0, training - launched) / 2)
            else:
                wait_until(lambda: runs.starts("parts") > begun, process, "start of training")
                wait_until(lambda: runs.epochs("parts") >= targets[kill - 1], process, "progress")
                wanted, reached = "best" if kill % 2 else "last", runs.epochs("parts")
                if kill > 1:
                    wait_until(lambda: runs.later("parts") == wanted or runs.epochs("parts") > reached + 12, process, "progress")
                if kill < 2 or runs.later("parts") != wanted:
                    time.sleep(draw.uniform(0, 1.2 * epoch))
            if process.poll() is not None:
                sys.exit(f"resume_test: process {kill} ended by itself: {process.stderr.read().decode()}")
            process.send_signal(signal.SIGKILL)
            process.communicate()
            before_checkpoint += not any((runs.folder / "parts/checkpoints").glob("*.safetensors"))
            later[runs.later("parts")] += 1
        begun = runs.starts("parts")
        process = runs.start("parts", "--resume")
        wait_until(lambda: runs.starts("parts") > begun, process, "start of training")
        reached = runs.epochs("parts")
        wait_until(lambda: runs.epochs("parts") > reached, process, "progress")
        process.send_signal(signal.SIGINT)
        process.communicate()
        if process.returncode != 130:
            sys.exit(f"resume_test: exit code {process.returncode} after SIGINT instead of 130")
        runs.finish(runs.start("parts", "--resume"))
        print(f"{before_checkpoint} kills before the first checkpoint, {KILLS - before_checkpoint} after it; "
              f"{later['best']} with the best one ahead, {later['last']} with the last one; "
              f"{runs.starts('parts')} processes trained")

        for which in "last", "best":
            if runs.checkpoint("whole", which) != runs.checkpoint("parts", which):
                sys.exit(f"resume_test: {which}.safetensors differs from the uninterrupted run's (seed {seed})")
        if runs.metrics("whole") != runs.metrics("parts"):
            sys.exit(f"resume_test: metrics.csv differs from the uninterrupted run's (seed {seed})")
        if len(runs.metrics("whole")) != EPOCHS + 1:
            sys.exit("resume_test: metrics.csv has not one row for each epoch")
        if before_checkpoint < 1 or not (later["best"] and later["last"]):
            sys.exit(f"resume_test: the kills missed the moments that they were for (seed {seed})")
        print("the same bits")


if __name__ == "__main__":
    main()
