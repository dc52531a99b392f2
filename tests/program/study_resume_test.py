#!/usr/bin/env python3
"""A study that is interrupted and killed goes on piece by piece: no finished piece is measured again, the end is that of
an uninterrupted one, and pieces of other settings, images, networks or devices are refused. So is a sweep of trainings."""
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TVMAP = os.environ["TVMAP"]
STUDY = """
data: {{train: {0}/train, val: {0}/val, test: {0}/test, size: 32, limit: {{train: 4, val: 2, test: 2}}}}
network: {{channels: [4, 8]}}
solver: {{iterations: 8}}
train: {{batch: 2}}
optimiser: {{schedule: cosine}}
evaluate: {{iterations: 16, search: {{count: 5}}}}
study:
    modes: [masks, "truncated:1", implicit]
    iterations: [4, 512]
    sizes: [16, 32]
    repeat: 3
    reference_iterations: 2048
    steps: 200
    train_iterations: [4]
    test_iterations: [4, 64]
    step_sizes: [none]
    step_sizes_iterations: [4]
"""
SWEEP = """
data: {{train: {0}/train, val: {0}/val, size: 32, limit: {{train: 4, val: 1}}}}
network: {{channels: [4, 4]}}
solver: {{iterations: 8}}
train: {{epochs: 30}}
evaluate: {{iterations: 8}}
output: {{folder: runs, name: swept}}
sweep: {{optimiser.rate: [1e-4, 1e-3, 1e-2]}}
"""
# What a clock or the system's count of pages says is another number in each measurement.
MEASURED = {"forward_seconds", "backward_seconds", "seconds_per_step", "measured_bytes"}
# So is what a process needs for a training: what it needed for the one before is there already.
OF_THE_PROCESS = {"predicted_bytes"}


class Workshop:
    def __init__(self, folder):
        self.folder = folder
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
        for number, (name, count) in enumerate((("train", 4), ("val", 2), ("test", 2))):
            subprocess.run([TVMAP, "phantoms", "--out", folder / name, "--count", str(count), "--size", "32", "--seed",
                            str(number), "--quiet"], check=True)
        (folder / "study.yaml").write_text(STUDY.format(folder))
        (folder / "sweep.yaml").write_text(SWEEP.format(folder))

    def start(self, command, *arguments, cwd=None):
        return subprocess.Popen([TVMAP, command, self.folder / f"{command_file(command)}.yaml", "--quiet", *arguments],
                                env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)

    def study(self, out, *arguments):
        return self.start("study", "--out", out, "--json", "--threads", "1", *arguments)

    def finish(self, process):
        output, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        return output, error

    def refused(self, out, *arguments, parts):
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        process = self.start("study", "--out", out, *arguments)
        error = process.communicate(timeout=300)[1]
        assert process.returncode == 1 and error.count("\n") == 1 and all(part in error for part in parts), error
        after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert before == after, f"{arguments}: a refused study changed {set(before.items()) ^ set(after.items())}"


def command_file(command):
    return {"study": "study", "train": "sweep"}[command]


def wait_until(condition, process, what):
    limit = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < limit, f"no {what}: {process.communicate()[1]}"
        time.sleep(0.005)


def pieces(out):
    path = out / "pieces.json"
    return json.loads(path.read_text())["pieces"] if path.exists() else {}


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def measured_apart(rows):
    left_out = lambda row: MEASURED | (OF_THE_PROCESS if "loss" in row else set())
    return [{key: value for key, value in row.items() if key not in left_out(row)} for row in rows]


def tables(out):
    return {name: measured_apart(csv.DictReader((out / name).open(newline="")))
            for name in ("gradient.csv", "training.csv", "iterations.csv")}


def stop(process, how):
    process.send_signal(how)
    error = process.communicate(timeout=300)[1]
    if how == signal.SIGINT:
        assert process.returncode == 130 and error.count("\n") == 1 and "--resume" in error, (process.returncode, error)


def check_parts(work):
    """Stopped again and again, once in the midst of a training."""
    whole = json.loads(work.finish(work.study(work.folder / "whole"))[0])
    parts = work.folder / "parts"
    before, stops = {}, 0
    for how, growth in ((signal.SIGINT, 1), (signal.SIGKILL, 3), (signal.SIGINT, 5), (signal.SIGKILL, 4)):
        process = work.study(parts, "--resume")
        wait_until(lambda: len(pieces(parts)) >= len(before) + growth, process, "progress")
        stop(process, how)
        now = pieces(parts)
        # The times show it: a piece that were measured again would have others.
        assert {name: now[name] for name in before} == before, "a finished piece was measured again"
        before, stops = now, stops + 1
    process = work.study(parts, "--resume")
    left = lambda: [log for log in parts.glob("trainings/*/log.txt") if len(lines(log.parent / "metrics.csv")) > 5
                    and not any(line.startswith("finished") for line in lines(log))]
    wait_until(left, process, "training under way")
    stop(process, signal.SIGINT)
    [log] = [log for log in parts.glob("trainings/*/log.txt") if any(line.startswith("interrupted") for line in lines(log))]
    result = json.loads(work.finish(work.study(parts, "--resume"))[0])
    assert any(line.startswith("resumed") for line in lines(log)), lines(log)
    assert {name: pieces(parts)[name] for name in before} == before

    for table in ("gradient", "training", "iterations"):
        for row, expected in zip(measured_apart(result[table]), measured_apart(whole[table])):
            assert row == expected, f"{table}: {row} instead of {expected}"
    assert tables(parts) == tables(work.folder / "whole")
    assert len(result["gradient"]) == 12 and len(result["training"]) == 4 and len(result["iterations"]) == 12
    return parts


def check_again(work, out):
    """A finished study: nothing is measured again, and what the user made of its tables is kept."""
    files = {name: (out / name).read_bytes() for name in ("gradient.csv", "iterations.csv", "training.csv", "summary.txt",
                                                          "pieces.json")}
    logs = {log: log.read_bytes() for log in out.glob("trainings/*/log.txt")}
    changed = files["gradient.csv"].replace(b"\n", b"\r\n").replace(b",", b";")
    (out / "gradient.csv").write_bytes(changed)
    error = work.finish(work.study(out, "--resume"))[1]
    assert error.count("\n") == 1 and "gradient.1.csv" in error, error
    assert (out / "gradient.1.csv").read_bytes() == changed
    assert {name: (out / name).read_bytes() for name in files} == files
    assert {log: log.read_bytes() for log in logs} == logs, "a finished training was opened again"
    assert work.finish(work.study(out, "--resume"))[1] == "" and not (out / "gradient.2.csv").exists()


def check_refused(work, out):
    network = next(iter(out.glob("trainings/*/checkpoints/last.safetensors")))
    threads = ("--threads", "1")
    work.refused(out, *threads, parts=["holds a study already", "--resume"])
    resume = (*threads, "--resume")
    work.refused(out, *resume, "--set", "map.scale=0.2", parts=["scale: 0.1", "scale: 0.2"])
    work.refused(out, *resume, "--set", "study.repeat=4", parts=["repeat: 3", "repeat: 4"])
    work.refused(out, *resume, "--set", "seed=7", parts=["seed: 42", "seed: 7"])
    work.refused(out, *resume, "--checkpoint", network, parts=["checkpoint"])
    work.refused(out, "--threads", "2", "--resume", parts=["device", "2 threads"])
    # Other images under the same names, the same images in another folder.
    for kind in ("test", "train", "val"):
        moved = work.folder / f"moved_{kind}"
        shutil.copytree(work.folder / kind, moved)
        work.finish(work.study(out, "--resume", "--set", f"data.{kind}={moved}"))
        files = sorted(moved.iterdir())
        files[0].rename(moved / "swap")
        files[1].rename(files[0])
        (moved / "swap").rename(files[1])
        work.refused(out, *resume, "--set", f"data.{kind}={moved}", parts=[f"data.{kind}"])
    without = work.folder / "without"
    shutil.copytree(out, without, ignore=shutil.ignore_patterns("pieces.json"))
    work.refused(without, *resume, parts=["another folder"])
    (without / "pieces.json").write_bytes((out / "pieces.json").read_bytes()[:1000])
    work.refused(without, *resume, parts=["pieces.json"])


def check_sweep(work):
    ends = {}
    for name in ("whole", "parts"):
        place = work.folder / f"sweep_{name}"
        place.mkdir()
        if name == "parts":
            # On a machine that is busy otherwise, the sweep may have ended by itself before the signal comes: once more then.
            for _ in range(5):
                process = work.start("train", "--threads", "1", cwd=place)
                wait_until(lambda: len(lines(next(iter(place.glob("runs/swept/rate-1e-3/metrics.csv")), place / "none"))) > 5,
                           process, "second run")
                process.send_signal(signal.SIGINT)
                error = process.communicate()[1]
                if process.returncode != 0:
                    break
                shutil.rmtree(place / "runs")
            assert process.returncode == 130, f"{process.returncode}: {error}"
            [first] = [path for path in place.glob("runs/swept/*/checkpoints/last.safetensors") if "rate-1e-4" in str(path)]
            before = first.stat().st_mtime_ns
            work.finish(work.start("train", "--threads", "1", "--resume", cwd=place))
            assert first.stat().st_mtime_ns == before, "a finished run was trained again"
        else:
            work.finish(work.start("train", "--threads", "1", cwd=place))
        ends[name] = {path.parent.name: [line.rpartition(",")[0] for line in lines(path)]
                      for path in place.glob("runs/swept/*/metrics.csv")}
    assert len(ends["whole"]) == 3 and ends["whole"] == ends["parts"], ends
    process = work.start("train", "--threads", "1", "--resume", "--set", "network.slope=0.3", cwd=work.folder / "sweep_parts")
    error = process.communicate()[1]
    assert process.returncode == 1 and "slope" in error, error


def main():
    with tempfile.TemporaryDirectory() as name:
        work = Workshop(pathlib.Path(name))
        out = check_parts(work)
        check_again(work, out)
        check_refused(work, out)
        check_sweep(work)


if __name__ == "__main__":
    sys.exit(main())
