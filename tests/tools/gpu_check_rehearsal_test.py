#!/usr/bin/env python3
"""tools/gpu-check on machines that are lent for a moment, rehearsed without one: both calls on stand-ins for the program, its
tests, compute-sanitizer and PyTorch, at a fiftieth of a real machine's times. The calls are interrupted at ten random moments
(by Ctrl-C, SIGTERM, SIGKILL); each next one gets nothing but the archive, in a folder of its own. Nothing that was finished is
lost or done twice, and the trained weights are those of a run that nobody stopped.

TVMAP_SOURCE: the source folder."""
import csv
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

SOURCE = pathlib.Path(os.environ["TVMAP_SOURCE"]).resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(SOURCE / "tools"))
import gpu_archive  # noqa: E402

PART, FILES, EPOCHS = 200_000, 8, 30
OWN, OTHERS = ("pdhg", "layers", "training"), ("convolution", "backend")
LINE = re.compile(r"^(\w+) +(passed|failed|skipped|unfinished) +[\d.]+ s  ((?:chest_xray\w* \w+: )?.*?): ", re.MULTILINE)

# gpu-check where there is a GPU, with a machine's times and file sizes divided by fifty.
CALL = f'''
import importlib.machinery, importlib.util, sys
sys.dont_write_bytecode = True
sys.path.insert(0, {str(SOURCE / "tools")!r})
loader = importlib.machinery.SourceFileLoader("gpu_check", {str(SOURCE / "tools" / "gpu-check")!r})
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_check", loader))
loader.exec_module(check)
check.gpu_workbench.no_gpu = lambda: ""
check.gpu_workbench.gpu_name = lambda: "stand-in"
check.gpu_archive.PART = {PART}
check.REFRESH = 0.3
slower = float(sys.argv.pop(1))
for call, (seconds, stages) in check.CALLS.items():
    assert seconds + 15 <= {{"first": 360, "second": 600}}[call], "what has to save when the time is up gets 15 s"
    check.CALLS[call] = seconds * slower, {{stage: most and most * slower for stage, most in stages.items()}}
sys.exit(check.main())
'''

# Every tool; which, its name says. What it does it writes into a journal beside the folders that come and go.
STAND_IN = '''#!{python} -IS
import array, hashlib, json, os, pathlib, signal, struct, sys, time
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]

def journal(*words):
    with open(os.environ["JOURNAL"], "a") as file:
        file.write(os.environ["ATTEMPT"] + " " + " ".join(map(str, words)) + "\\n")

def option(key, otherwise=None):
    return arguments[arguments.index(key) + 1] if key in arguments else otherwise

def work(seconds):  # of a real machine
    time.sleep(seconds / 50)

def weights(state):
    numbers = array.array("f", (byte + 1 for byte in state)) * 1100
    return numbers.tobytes()

def checkpoint(path, state, epoch):
    data = weights(state)
    header = json.dumps({{"__metadata__": {{"state": state.hex(), "epoch": str(epoch)}},
                         "net.w": {{"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [0, len(data)]}},
                         "optimiser.w": {{"dtype": "F32", "shape": [len(data) // 2],
                                         "data_offsets": [len(data), 3 * len(data)]}}}}).encode()
    new = path.with_name("." + path.name)
    new.write_bytes(struct.pack("<Q", len(header)) + header + data * 3)
    new.replace(path)

def metadata(path):
    content = path.read_bytes()
    return json.loads(content[8:8 + struct.unpack_from("<Q", content)[0]])["__metadata__"]

def train():
    settings = dict(arguments[i + 1].split("=", 1) for i, word in enumerate(arguments) if word == "--set")
    run = pathlib.Path(option("--run"))
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    last, table = run / "checkpoints/last.safetensors", run / "metrics.csv"
    if {{"data.train", "data.val", "data.test"}} <= set(settings):
        assert (pathlib.Path(settings["data.train"]) / "1.png").exists() or "phantoms" in settings["data.train"]
    given = "\\n".join(f'    {{key[5:]}}: "{{settings[key]}}"' for key in ("data.train", "data.val", "data.test"))
    config = run / "config.yaml"
    assert not config.exists() or "--resume" not in arguments or config.read_text() == given, "another run's images"
    config.write_text(given)
    state, epoch, rows, stopped = b"start", 0, ["epoch,steps,loss,rate,val_psnr,seconds"], []
    if "--resume" in arguments and last.exists():
        known = metadata(last)
        state, epoch = bytes.fromhex(known["state"]), int(known["epoch"])
        rows = table.read_text().split("\\n")[:epoch + 1]
        assert len(rows) == epoch + 1, "the archive's metrics are behind its checkpoint"
    table.write_text("\\n".join(rows) + "\\n")
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    epochs = int(settings.get("train.epochs", {epochs}))
    experiment = "experiment" if "--resume" in arguments else "other"
    while epoch < epochs and not stopped:
        work(1 if experiment == "experiment" else 0.2)
        epoch += 1
        state = hashlib.sha256(state + bytes([epoch])).digest()
        with open(table, "a") as file:
            file.write(f"{{epoch}},{{10 * epoch}},0.5,1e-4,{{'' if experiment == 'other' else 30 + epoch}},0.02\\n")
        checkpoint(run / "checkpoints/best.safetensors", state, epoch)
        checkpoint(last, state, epoch)
        if experiment == "experiment":
            journal("epoch", run.name, epoch)
    if stopped:
        checkpoint(last, state, epoch)
        sys.exit(130)
    return {{"steps": 10 * epoch, "epoch": epoch, "best_psnr": 30.0 + epoch, "memory": {{"predicted": 1, "measured": 1}}}}

def tvmap():
    command = arguments[0]
    if option("--out") and command in ("solve", "gradient"):
        pathlib.Path(option("--out")).write_bytes(b"the same")
    if command == "phantoms":
        folder = pathlib.Path(option("--out"))
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(int(option("--count"))):
            (folder / f"{{number}}.png").touch()
    if command == "evaluate":
        journal("begin", "evaluate", os.path.basename(option("--out")))
        run = pathlib.Path(arguments[1])
        assert f'"{{os.path.abspath("data/test")}}"' in (run / "config.yaml").read_text(), "images that are not here"
        content = (run / "checkpoints/best.safetensors").read_bytes()
        assert weights(bytes.fromhex(metadata(run / "checkpoints/best.safetensors")["state"])) in content
        work(10)
        pathlib.Path(option("--out")).mkdir(parents=True, exist_ok=True)
        quality = {{"psnr": {{"mean": 30.0}}, "ssim": {{"mean": 0.8}}}}
        return {{"images": 1, "noisy": quality, "scalar": quality, "map": quality, "gain": {{"psnr": 1.0, "ssim": 0.1}}}}
    if command == "bench":
        journal("begin", "bench", option("--batch"))
        work(5)
        return {{"kernels": [{{"kernel": "add", "shape": "1", "seconds": 1e-5, "bytes_per_second": 1e12, "memory_share": 0.5,
                             "operations_per_second": 0, "arithmetic_share": 0}}]}}
    if command == "train":
        return train()
    work(1)
    return {{"version": "0", "cuda_backend": "stand-in", "processor": "none", "seconds": 0.001}}

if name == "tvmap":
    print(json.dumps(tvmap()))
elif name == "nvidia-smi":
    print("stand-in, 1, 2 MiB, 9.0")
elif name == "compute-sanitizer":
    journal("begin", "sanitizer", arguments[1], os.path.basename(arguments[-1]))
    work(10)
    print("========= ERROR SUMMARY: 0 errors")
elif name == "python":
    if "versions" in arguments:
        print(json.dumps({{"torch": "2", "cudnn": 9, "cuda": "13"}}))
    elif "device-solver" in arguments:
        work(3)
        print(json.dumps({{"task": "solve", "seconds": 0.1}}))
    else:
        journal("begin", "pytorch", option("--form"), option("--mode"))
        for batch in (1, 16):
            work(10)
            print(json.dumps({{"form": option("--form"), "mode": option("--mode"), "precision": "fp32", "batch": batch,
                              "seconds": 0.2}}), flush=True)
else:
    journal("begin", "test", name)
    work(6000 if name.startswith("cuda_backend") and os.environ["ATTEMPT"] == "first" else 3)
    print("[doctest] assertions: 2 | 2 passed | 0 failed |")
'''


class Rehearsal(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        stand_in = self.folder / "stand_in"
        stand_in.write_text(STAND_IN.format(python=sys.executable, epochs=EPOCHS), encoding="utf-8")
        stand_in.chmod(0o755)
        tests = [f"cuda_{name}_gpu_test" for name in OWN + OTHERS]
        for place in ("bundle/tvmap", "bin/nvidia-smi", "bin/compute-sanitizer", "bin/python",
                      *(f"bundle/tests/{name}" for name in tests)):
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / place).symlink_to(stand_in)
        (self.folder / "bundle/tests/list.json").write_text(json.dumps([{"name": name, "program": name} for name in tests]))
        with tarfile.open(self.folder / "data.tar", "w") as tar:
            for part in ("train", "val", "test"):
                (self.folder / "pictures" / part).mkdir(parents=True)
                (self.folder / "pictures" / part / "1.png").touch()
            tar.add(self.folder / "pictures", "pictures")
        self.journal = self.folder / "journal"
        self.printed = {}  # (stage, key) → the attempt that said it has passed

    def start(self, attempt, call, slower, *options):
        """gpu-check on a machine that has nothing but the bundle, the pictures and what the last attempt left."""
        newest = self.newest()
        machine = self.folder / f"machine-{attempt}"
        machine.mkdir()
        arrived = []
        if newest:
            shutil.copytree(newest.parent, machine / "arrived")
            arrived = ["--from", machine / "arrived/results.tar.gz"]
        self.machine, self.out = machine, machine / "somewhere" / "out"
        environment = dict(os.environ, JOURNAL=str(self.journal), ATTEMPT=str(attempt),
                           PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}")
        with open(self.folder / f"said-{attempt}", "wb") as said:
            return subprocess.Popen([sys.executable, "-S", "-c", CALL, str(slower), "--call", call, "--out", self.out, *arrived,
                                     *options, "--archive", machine / "results.tar.gz", "--data", self.folder / "data.tar",
                                     "--bundle", self.folder / "bundle", "--python", self.folder / "bin/python"],
                                    stdout=said, stderr=subprocess.STDOUT, env=environment)

    def said(self, attempt):
        return (self.folder / f"said-{attempt}").read_text(encoding="utf-8")

    def end(self, attempt, process):
        """What an attempt leaves: an archive that fits, with everything in it that has been said to have passed."""
        code = process.wait(120)
        shutil.rmtree(self.out.parent, ignore_errors=True)  # the machine is gone
        shutil.rmtree(self.machine / "arrived", ignore_errors=True)
        text = self.said(attempt)
        # (Before gpu-check's first line, Python itself takes the signal.)
        self.assertTrue("Traceback" not in text or text.endswith("KeyboardInterrupt\n"), text)
        passed = [(stage, key) for stage, status, key in LINE.findall(text) if status == "passed"]
        for line in passed:
            self.assertNotIn(line, self.printed, "done twice")
            self.printed[line] = attempt
        files = [path for path in self.machine.iterdir() if not path.name.startswith(".")]
        self.assertLessEqual(len(files), FILES)
        self.assertLessEqual(max([path.stat().st_size for path in files], default=0), PART)
        return code, text

    def newest(self):
        return max(self.folder.glob("machine-*/results.tar.gz"), key=lambda path: path.stat().st_mtime, default=None)

    def records(self):
        with tarfile.open(self.newest()) as tar:
            return {(pathlib.Path(name).stem, key): item["status"] for name in tar.getnames() if name.startswith("stages/")
                    for key, item in json.load(tar.extractfile(name))["items"].items()}

    def began(self):
        """(attempt, what) of every command that the journal names."""
        return [tuple(line.split(" begin ", 1)) for line in self.journal.read_text().splitlines() if " begin " in line]

    def test_ten_interruptions(self):
        draw, attempt, call, interrupted = random.Random(20261126), 0, "first", {}
        kinds = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL] * 3 + [signal.SIGKILL]
        draw.shuffle(kinds)
        while True:
            process = self.start(attempt, call, 1)
            if kinds:
                lines, delay = draw.randrange(4), draw.uniform(0, 0.3)
                while process.poll() is None and len(LINE.findall(self.said(attempt))) < lines:
                    time.sleep(0.01)
                time.sleep(delay)
                if process.poll() is None:
                    interrupted[str(attempt)] = kinds.pop()
                    process.send_signal(interrupted[str(attempt)])
            code, text = self.end(attempt, process)
            records = self.records() if self.printed else {}
            for line in self.printed:
                self.assertEqual(records.get(line), "passed", f"{line} is lost after attempt {attempt}: {text}")
            if code == 0 and call == "second":
                break
            self.assertLess(attempt, 20, text)
            call = "second" if code == 0 else call
            attempt += 1
        self.assertEqual(len(interrupted), 10)
        self.assertEqual(set(records.values()), {"passed"}, records)
        self.check_journal(records)
        self.check_runs({attempt for attempt, kind in interrupted.items() if kind == signal.SIGKILL})

    def check_journal(self, records):
        """No command ran again once its result had been said."""
        for name in OWN + OTHERS:
            self.check_once("tests", f"cuda_{name}_gpu_test", f"test cuda_{name}_gpu_test")
        for name in OWN:
            for tool in ("memcheck", "racecheck"):
                self.check_once("sanitizer", f"{tool} cuda_{name}_gpu_test", f"sanitizer {tool} cuda_{name}_gpu_test")
        for mode in ("eager", "graph"):
            self.check_once("steps", f"PyTorch roll {mode}", f"pytorch roll {mode}")
        for batch in (1, 16):
            self.check_once("bench", f"batch {batch}", f"bench {batch}")
        self.assertIn(("experiment", "chest_xray fp32: σ drawn"), records)

    def check_once(self, stage, key, command):
        attempts = [int(attempt) for attempt, what in self.began() if what == command]
        self.assertTrue(attempts, command)
        self.assertEqual(len(attempts), len(set(attempts)), command)
        if (stage, key) in self.printed:
            self.assertEqual(max(attempts), self.printed[stage, key], f"{command}: again after it had passed")

    def epochs(self, run=""):
        """(attempt, run, epoch) as the journal has them."""
        lines = (line.split() for line in self.journal.read_text().splitlines() if " epoch " in line)
        return [(attempt, name, int(epoch)) for attempt, _, name, epoch in lines if run in name]

    def check_runs(self, killed):
        """Every epoch is in the metrics once, and was trained once, but for those since the last archive before a SIGKILL."""
        gpu_archive.restore(self.newest(), self.folder / "home")
        runs = sorted((self.folder / "home/runs").iterdir())
        self.assertEqual(len(runs), 3)
        # Of equal length here, so all three must have come to the weights that follow from 30 epochs in their order.
        state = b"start"
        for epoch in range(1, EPOCHS + 1):
            state = hashlib.sha256(state + bytes([epoch])).digest()
        for run in runs:
            self.assertIn(state.hex().encode(), (run / "checkpoints/best.safetensors").read_bytes(), run.name)
            with open(run / "metrics.csv", encoding="ascii", newline="") as metrics:
                self.assertEqual([int(row["epoch"]) for row in csv.DictReader(metrics)], list(range(1, EPOCHS + 1)))
            for epoch in range(1, EPOCHS + 1):
                attempts = [attempt for attempt, _, number in self.epochs(run.name) if number == epoch]
                self.assertLessEqual(set(attempts[:-1]), killed, f"{run.name}, epoch {epoch}: trained in {attempts}")

    def test_training_goes_on_after_a_kill(self):
        process = self.start("killed", "second", 1, "--only", "experiment")
        while len(self.epochs()) < 3 if self.journal.exists() else True:
            self.assertIsNone(process.poll(), self.said("killed"))
            time.sleep(0.01)
        begun = time.time()
        while not (archive := self.machine / "results.tar.gz").exists() or archive.stat().st_mtime < begun:
            self.assertIsNone(process.poll(), self.said("killed"))
            time.sleep(0.01)
        process.kill()
        self.end("killed", process)
        self.assertNotEqual(len(list(self.machine.iterdir())), 1, "a checkpoint has come along")
        code, text = self.end("next", self.start("next", "second", 1, "--only", "experiment"))
        self.assertEqual(code, 0, text)
        self.assertGreater(min(epoch for attempt, run, epoch in self.epochs("chest_xray-tf32") if attempt == "next"), 2)

    def test_two_calls(self):
        """Within their times: what the first has no time for it names, and the second does."""
        first, text = self.end("first", self.start("first", "first", 0.05))
        self.assertEqual(first, 3, text)
        found = {(stage, key): status for stage, status, key in LINE.findall(text)}
        self.assertEqual(found["tests", "cuda_backend_gpu_test"], "unfinished")
        self.assertRegex(text, "cuda_backend_gpu_test: postponed: the 6 s for tests were up")
        self.assertEqual(found["tests", "cuda_pdhg_gpu_test"], "passed")
        self.assertIn(("steps", "PyTorch roll eager"), found)
        order = list(dict.fromkeys(stage for stage, _ in found))
        self.assertEqual(order, ["device", "tests", "agreement", "steps", "solver", "contenders"])
        second, text = self.end("second", self.start("second", "second", 1))
        self.assertEqual(second, 0, text)
        self.assertEqual(set(self.records().values()), {"passed"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
