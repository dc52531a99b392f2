#!/usr/bin/env python3
"""TensorBoard's own reader beside a training: it sees each epoch while the file grows, follows from the file of a killed
process, torn in its last record, to that of the process that goes on, and ends with the rows of metrics.csv, each once.
TensorBoard comes from PyPI (tools/tensorboard); skipped where it cannot be installed."""
import csv
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(os.environ["TVMAP_SOURCE"])
try:
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
except ImportError:
    found = subprocess.run([SOURCE / "tools" / "tensorboard"], stdout=subprocess.PIPE, text=True)
    if found.returncode != 0:
        print("SKIPPED: no TensorBoard here, and it cannot be installed")
        sys.exit(77)
    os.execv(found.stdout.strip(), [found.stdout.strip(), __file__])

TVMAP = os.environ["TVMAP"]
EPOCHS = 60
CONFIG = """
data: {{train: {0}/images, val: {0}/images, size: 64, limit: {{train: 4, val: 1}}}}
network: {{channels: [8, 8]}}
solver: {{iterations: 64}}
train: {{epochs: {1}, validate_every: 2, checkpoint_every: 5}}
evaluate: {{iterations: 16}}
"""


class Reader:
    """TensorBoard's view of a run's folder, opened once."""

    def __init__(self, run):
        self.events = EventAccumulator(str(run), size_guidance={"tensors": 0})

    def read(self):
        """By tag: step, time and value of each scalar."""
        self.events.Reload()
        return {tag: [(e.step, e.wall_time, float(e.tensor_proto.float_val[0])) for e in self.events.Tensors(tag)]
                for tag in self.events.Tags()["tensors"]}

    def watch(self, process, enough):
        """Reads until `enough` epochs are seen or the process ends; the counts that were seen meanwhile."""
        counts, limit = [], time.monotonic() + 120
        while process.poll() is None and time.monotonic() < limit and (not counts or counts[-1] < enough):
            counts.append(len(self.read().get("train/loss", [])))
            time.sleep(0.01)
        return sorted(set(counts))


def float32(value):
    return struct.unpack("f", struct.pack("f", float(value)))[0]


def event_files(run):
    return sorted(path for path in run.iterdir() if "tfevents" in path.name)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder, began = pathlib.Path(name), time.time()
        environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
        (folder / "config.yaml").write_text(CONFIG.format(folder, EPOCHS))
        subprocess.run([TVMAP, "phantoms", "--out", folder / "images", "--count", "4", "--size", "64", "--seed", "1",
                        "--quiet"], check=True)
        run = folder / "run"
        run.mkdir()

        def start():
            return subprocess.Popen([TVMAP, "train", folder / "config.yaml", "--run", run, "--threads", "1", "--quiet",
                                     "--resume"], env=environment, stdout=subprocess.DEVNULL)

        reader = Reader(run)
        process = start()
        counts = reader.watch(process, EPOCHS // 3)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the first process ended by itself"
        assert len(counts) >= 4, f"TensorBoard saw the file grow to {counts} epochs"
        [first] = event_files(run)
        with first.open("ab") as file:  # a record of which the disk has only a part
            file.write(struct.pack("<Q", 40) + b"\x12\x34\x56\x78torn")

        process = start()
        counts = reader.watch(process, EPOCHS)
        assert process.wait() == 0
        assert len(counts) >= 4, f"TensorBoard saw the second file grow to {counts} epochs"
        ended = time.time()
        files = event_files(run)
        assert len(files) == 2 and files[0] == first, files
        for path in files:
            assert began - 1 < float(".".join(path.name.split(".")[3:5])) < ended + 1, f"no time of its making in {path.name}"

        with (run / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == EPOCHS
        expected = {"train/loss": "loss", "train/rate": "rate", "validation/psnr": "val_psnr", "validation/ssim": "val_ssim"}
        for what, seen in (("beside the training", reader.read()), ("afterwards", Reader(run).read())):
            assert set(seen) == set(expected), (what, set(seen))
            for tag, column in expected.items():
                values = [(int(row["steps"]), float(row[column])) for row in rows if row[column]]
                assert [step for step, _, _ in seen[tag]] == [step for step, _ in values], (what, tag, seen[tag])
                # The row's digits end before a float's do.
                for (_, wall, value), (_, wanted) in zip(seen[tag], values):
                    assert abs(value - float32(wanted)) <= 1e-6 * max(1, abs(wanted)), (what, tag, value, wanted)
                    assert began <= wall <= ended, (what, tag, wall)
                walls = [wall for _, wall, _ in seen[tag]]
                assert walls == sorted(walls), (what, tag)
        # A run that is finished already leaves no file that says nothing.
        assert start().wait() == 0 and event_files(run) == files


if __name__ == "__main__":
    sys.exit(main())
