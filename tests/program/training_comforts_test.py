#!/usr/bin/env python3
"""What `tvmap train` says at its end, and when: what to do next, with a path that a shell takes; a curve of validation on a
terminal alone. Settings of the optimiser, from the command line to the checkpoint."""
import json
import os
import pathlib
import pty
import select
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from program import check, finish, png, program, refused, run, tiny_experiment  # noqa: E402

bars = "▁▂▃▄▅▆▇█"


def on_terminal(arguments, folder):
    """What the program writes to a terminal that is both of its outputs."""
    main, child = pty.openpty()
    process = subprocess.Popen([program, *arguments], cwd=folder, stdout=child, stderr=child)
    os.close(child)
    written, limit = b"", time.monotonic() + 120
    while time.monotonic() < limit:
        ready, _, _ = select.select([main], [], [], 0.1)
        if ready:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            written += part
        elif process.poll() is not None:
            break
    os.close(main)
    check(process.wait(timeout=10) == 0, f"on a terminal: exit {process.returncode}")
    return written.decode()


def metadata(path):
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:8 + length])


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / "images").mkdir()
    for k in range(2):
        (folder / "images" / f"{k}.png").write_bytes(png(32, k + 1))
    (folder / "tiny.yaml").write_bytes(tiny_experiment)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")

    plain = run("train tiny.yaml --run runs/plain", folder)
    check(plain.returncode == 0, f"train: {plain.stderr}")
    check(plain.stdout.endswith("next: tvmap evaluate runs/plain && tvmap report runs/plain\n"),
          f"the last line: {plain.stdout!r}")
    # What it says to do can be done, also where the path needs quotes.
    odd = run(["train", "tiny.yaml", "--run", "it's here"], folder)
    line = odd.stdout.splitlines()[-1]
    commands = line.removeprefix("next: ").replace("tvmap", f"'{program}'")
    done = subprocess.run(["sh", "-ec", commands], cwd=folder, capture_output=True, text=True, timeout=120)
    check(done.returncode == 0 and (folder / "it's here/report/index.html").exists(), f"{line}: {done.stderr}")
    for silent in ("--quiet", "--json"):
        told = run(f"train tiny.yaml --run runs/plain --resume {silent}", folder)
        check("next:" not in told.stdout, f"{silent}: {told.stdout!r}")

    # A curve needs two validations, and a line that lasts until it is written again.
    long = ["--set", "train.time=3s", "--run"]
    terminal = on_terminal(["train", "tiny.yaml", *long, "runs/terminal"], folder)
    check(any(bar in terminal for bar in bars), f"no curve on a terminal: {terminal[-2000:]!r}")
    piped = run(["train", "tiny.yaml", *long, "runs/piped"], folder)
    check(not any(bar in piped.stdout + piped.stderr for bar in bars), "a curve in a pipe")

    settings = ["train.ema=0.9", "optimiser.kind=adamw", "optimiser.clip=0.1", "optimiser.schedule=step",
                "train.rotate=true", "train.accumulate=2"]
    chosen = ["train", "tiny.yaml", "--run", "runs/all", "--json"] + [part for s in settings for part in ("--set", s)]
    told = run(chosen, folder)
    check(told.returncode == 0, f"all settings: {told.stderr}")
    memory = json.loads(told.stdout)["memory"]["owners"]["parameters"]["predicted"]
    usual = json.loads(run("train tiny.yaml --run runs/usual --json", folder).stdout)["memory"]["owners"]["parameters"]["predicted"]
    check(abs(memory - usual * 6 / 4) < 1, f"parameters take {memory} bytes, and {usual} without an average and a sum")
    planned = json.loads(run([*chosen, "--plan"], folder).stdout)["memory"]["owners"]["parameters"]["predicted"]
    check(planned == memory, f"--plan says {planned} bytes of parameters, the run {memory}")
    tensors = metadata(folder / "runs/all/checkpoints/best.safetensors")
    check("optimiser.w.c1x1.weight" in tensors and "c1x1.weight" in tensors, f"the best checkpoint: {sorted(tensors)}")
    used = run("denoise images/0.png --checkpoint runs/all/checkpoints/best.safetensors --out denoised", folder)
    check(used.returncode == 0, f"denoise by an average: {used.stderr}")

    refused(folder, 1, "train tiny.yaml --set train.time=soon --run runs/none", "train.time: got 'soon'; give a time: ")
    refused(folder, 1, "train tiny.yaml --set train.ema=1 --run runs/none", "train.ema: 1 is impossible")
    refused(folder, 1, "train tiny.yaml --set train.accumulate=3 --run runs/none", "train.accumulate: 3")
    refused(folder, 1, "train tiny.yaml --set optimiser.weight_decay=0.1 --run runs/none", "optimiser.kind: adamw")
    refused(folder, 1, "train tiny.yaml --run runs/all --resume", "the run was started with optimiser.kind: adamw, not adam")

    stopped = run("train tiny.yaml --set optimiser.rate=0 --set train.epochs=9 --set train.stop_after=2 --run runs/early",
                  folder)
    check("stopped early (train.stop_after) after 3 epochs" in stopped.stdout or
          "stopped early (train.stop_after) after 6 steps" in stopped.stdout, f"early: {stopped.stdout!r}")

finish()
