#!/usr/bin/env python3
"""tools/gpu-check, as far as it can be tested without a GPU: arguments, the one line where there is no GPU, stages that go on
where they were stopped, what it makes of its tools' answers (stand-ins give them), the stages themselves with the CPU and with
the emulated CUDA backend in the GPU's place, and the table.

TVMAP: the program; TVMAP_SOURCE: the source folder; TVMAP_EMULATED: the emulated backend."""
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, SOURCE = pathlib.Path(os.environ["TVMAP"]).resolve(), pathlib.Path(os.environ["TVMAP_SOURCE"]).resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(SOURCE / "tools"))
import gpu_measurements as measurements  # noqa: E402
import gpu_workbench  # noqa: E402
import gpu_table  # noqa: E402
from gpu_workbench import Failed, Skipped, Unfinished  # noqa: E402

STAGES = ("device", "tests", "agreement", "steps", "bench", "experiment", "sanitizer")
SMALL = {"network.channels": "[4,8]", "data.size": 32, "solver.iterations": 8}


def gpu_check(*arguments):
    # (No variable hides the driver better: with it a machine that has a GPU shows none.)
    return subprocess.run([SOURCE / "tools" / "gpu-check", *map(str, arguments)], capture_output=True, text=True,
                          env=dict(os.environ, CUDA_VISIBLE_DEVICES=""), check=False)


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        saved = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(saved)))
        os.environ["XDG_CACHE_HOME"] = str(self.folder / "cache")

    def script(self, name, text):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def workbench(self, tests=None, program=PROGRAM, **options):
        return gpu_workbench.Workbench(gpu_workbench.Binaries(program, SOURCE / "configs", tests or {}), self.folder / "out",
                                   device="cpu", settings=SMALL, **options)

    def run_items(self, workbench, stage, items):
        """key → (status, summary)."""
        record = gpu_workbench.run_stage(workbench, stage, items, lambda *_: None)
        return {key: (item["status"], item["summary"]) for key, item in record["items"].items()}


class CommandLine(Case):
    def test_no_gpu_is_said_in_one_line(self):
        result = gpu_check("--out", self.folder / "none")
        self.assertEqual(result.returncode, 77, result.stderr)
        self.assertRegex(result.stderr, r"\Atools/gpu-check: no GPU: [^\n]+\n\Z")
        self.assertEqual(result.stdout, "")
        self.assertFalse((self.folder / "none").exists())

    def test_wrong_arguments(self):
        for arguments, words in ((["--only", "tests,speed"], "no stage called speed"),
                                 (["--data", self.folder], "no folder train"),
                                 (["--table", "--out", self.folder], "holds no results"), (["--sooner"], "--sooner")):
            result = gpu_check(*arguments)
            self.assertEqual(result.returncode, 2)
            self.assertIn(words, result.stderr)

    def test_help_names_every_stage(self):
        text = gpu_check("--help").stdout
        for stage in STAGES:
            self.assertIn(stage, text)


class Stages(Case):
    def test_what_has_passed_stands(self):
        calls = []

        def item(key, *outcomes):
            def work():
                calls.append(key)
                outcome = outcomes[min(calls.count(key), len(outcomes)) - 1]
                if isinstance(outcome, Exception):
                    raise outcome
                return {"summary": outcome, "figure": 1}
            return key, work

        items = [item("good", "fine"), item("bad", Failed("wrong", {"by": 2}), "right"), item("absent", Skipped("not there")),
                 item("long", Unfinished("the time was up"), "done"), item("odd", KeyError("seconds"))]
        first = self.run_items(self.workbench(), "tests", items)
        self.assertEqual(first, {"good": ("passed", "fine"), "bad": ("failed", "wrong"), "absent": ("skipped", "not there"),
                                 "long": ("unfinished", "the time was up"), "odd": ("failed", "KeyError: 'seconds'")})
        stored = gpu_workbench.read_record(self.folder / "out", "tests")
        self.assertEqual(stored["items"]["bad"]["values"], {"by": 2})
        self.assertEqual(stored["items"]["good"]["values"], {"figure": 1})
        second = self.run_items(self.workbench(), "tests", items)
        self.assertEqual(second["bad"], ("passed", "right"))
        self.assertEqual(second["long"], ("passed", "done"))
        self.assertEqual(calls.count("good"), 1)
        self.run_items(self.workbench(again=True), "tests", items)
        self.assertEqual(calls.count("good"), 2)
        self.run_items(self.workbench(quick=True), "tests", items)  # figures of another kind
        self.assertEqual(calls.count("good"), 3)
        self.run_items(self.workbench(program=self.script("other", "")), "tests", items)
        self.assertEqual(calls.count("good"), 4)

    def test_a_call_that_is_killed_loses_nothing(self):
        def interrupted():
            raise KeyboardInterrupt
        good = ("good", lambda: {"summary": "fine"})
        with self.assertRaises(KeyboardInterrupt):
            self.run_items(self.workbench(), "tests", [good, ("next", interrupted), ("last", interrupted)])
        with self.assertRaises(KeyboardInterrupt):
            self.run_items(self.workbench(), "tests", [("new", lambda: {"summary": ""}), ("next", interrupted), good])
        self.assertEqual(set(gpu_workbench.read_record(self.folder / "out", "tests")["items"]), {"new", "good"})

    def test_commands_keep_to_their_time(self):
        saves = self.script("saves", "trap 'echo saved; exit 130' INT; echo at work; sleep 30 & wait")
        begin = time.monotonic()
        workbench = self.workbench(time_limit=0.5)
        with self.assertRaises(Unfinished):
            workbench.run([saves], "saves", limit=20)
        with self.assertRaises(Unfinished):
            workbench.run(["true"], "too_late")
        with self.assertRaisesRegex(Failed, "not done after 0 s: see slow.txt"):
            self.workbench(time_limit=60).run([saves], "slow", limit=0.4)
        self.assertLess(time.monotonic() - begin, 20)
        code, output = self.workbench().run(["sh", "-c", "echo result; echo trouble >&2; exit 3"], "both")
        self.assertEqual((code, output), (3, "result\n"))
        self.assertEqual((self.folder / "out/logs/both.txt").read_text().split("\n")[1:3], ["trouble", "result"])

    def test_failures_of_the_program_are_said(self):
        workbench = self.workbench(program=self.script("tvmap", "echo 'tvmap: device: cuda: none' >&2; exit 1"))
        with self.assertRaisesRegex(Failed, "`tvmap info` ended with 1: tvmap: device: cuda: none"):
            workbench.tvmap("info", "info")
        with self.assertRaises(Unfinished):
            self.workbench(program=self.script("tvmap", "exit 130")).tvmap("info", "info")


class Tools(Case):
    """What stand-ins for the tests, compute-sanitizer and PyTorch say."""

    def test_tests(self):
        says = "echo '[doctest] assertions: {} | {} passed | {} failed |'; exit {}"
        tests = {name: self.script(name, text) for name, text in {
            "good": says.format(12, 12, 0, 0), "empty": says.format(0, 0, 0, 0), "bad": says.format(12, 11, 1, 1),
            "none": "echo 'SKIPPED: no GPU'; exit 77", "silent": "true"}.items()} | {"lost": self.folder / "lost"}
        found = self.run_items(self.workbench(tests), "tests", measurements.tests(self.workbench(tests)))
        self.assertEqual({key: status for key, (status, _) in found.items()},
                         {"good": "passed", "empty": "failed", "bad": "failed", "none": "skipped", "silent": "failed",
                          "lost": "failed"})
        self.assertEqual(found["good"][1], "12 assertions")
        self.assertEqual(found["none"][1], "SKIPPED: no GPU")
        self.assertEqual(self.run_items(self.workbench(), "tests", measurements.tests(self.workbench()))["tests"][0], "skipped")

    def test_sanitizer(self):
        answers = {"clean": ("========= ERROR SUMMARY: 0 errors", 0), "overrun": ("========= ERROR SUMMARY: 2 errors", 99),
                   "hazard": ("========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)", 0),
                   "racefree": ("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 0),
                   "wrong": ("========= ERROR SUMMARY: 0 errors", 1), "refused": ("========= Error: Device not supported", 1),
                   "broken": ("Segmentation fault", 139), "nothing": ("", 0)}
        (self.folder / "bin").mkdir()
        cases = "\n".join(f"*/{name}) echo '{said}'; exit {code};;" for name, (said, code) in answers.items())
        self.script("bin/compute-sanitizer", f'case "$5" in\n{cases}\nesac')
        os.environ["PATH"] = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        workbench = self.workbench({name: self.folder / name for name in answers})
        found = self.run_items(workbench, "sanitizer", measurements.sanitizer(workbench))
        self.assertEqual(len(found), 2 * len(answers))
        statuses = {name: found[f"racecheck {name}"][0] for name in answers}
        self.assertEqual(statuses, {"clean": "passed", "overrun": "failed", "hazard": "failed", "racefree": "passed",
                                    "wrong": "failed", "refused": "skipped", "broken": "failed", "nothing": "failed"})
        self.assertIn("Device not supported", found["memcheck refused"][1])

    def test_pytorch(self):
        line = '{"form": "roll", "mode": "eager", "precision": "fp32", "batch": 1, "seconds": 0.02, "all_seconds": [0.02]}'
        workbench = self.workbench(quick=True, python=str(self.script("python", f'[ "$1" = -c ] || echo \'{line}\'')))
        items = dict(measurements.steps(workbench))
        self.assertIn("batch 1: 20.0 ms", items["PyTorch roll eager"]()["summary"])
        workbench = self.workbench(python=str(self.script("python", "exit 1")))
        with self.assertRaisesRegex(Failed, "imports no PyTorch"):
            dict(measurements.steps(workbench))["PyTorch published graph"]()


@unittest.skipIf(b"libasan" in PROGRAM.read_bytes(), "trains and measures: not for builds with sanitizers")
class WithTheCpu(Case):
    """The stages themselves, with the CPU in the GPU's place."""

    def test_agreement(self):
        workbench = self.workbench(quick=True)
        found = self.run_items(workbench, "agreement", measurements.agreement(workbench))
        self.assertEqual({status for status, _ in found.values()}, {"passed"}, found)
        self.assertIn("loss 0.0e+00 of 1e-5", found["ten steps"][1])

    @unittest.skipUnless(os.environ.get("TVMAP_EMULATED"), "no emulated CUDA backend")
    def test_agreement_of_the_emulated_gpu(self):
        os.environ["TVMAP_CUDA_BACKEND"] = os.environ["TVMAP_EMULATED"]
        workbench = self.workbench(quick=True)
        workbench.device = "cuda"
        items = dict(measurements.agreement(workbench))
        self.assertIn("have the CPU's bits", items["solver 97×131"]()["summary"])
        values = items["ten steps"]()
        self.assertGreater(values["weights"], 0)  # another device, other sums
        self.assertTrue(values["repeatable"])

    def test_disagreement_is_found(self):
        """A program whose `cpu` starts the solver elsewhere, and draws other noise."""
        altered = self.script("tvmap", f'''case "$*" in
            solve*"--device cpu"*|gradient*"--device cpu"*) exec "{PROGRAM}" "$@" --boundary neumann;;
            train*"--device cpu"*) exec "{PROGRAM}" "$@" --set seed=43;;
            esac
            exec "{PROGRAM}" "$@"''')
        workbench = self.workbench(program=altered, quick=True)
        workbench.device = "auto"
        found = self.run_items(workbench, "agreement", measurements.agreement(workbench))
        self.assertIn("other bits in x and d_map", found["solver 97×131"][1])
        self.assertRegex(found["ten steps"][1], "ten training steps: loss .* from the CPU's")
        self.assertEqual(found["ten steps"][0], "failed")

    def test_device_steps_and_bench(self):
        workbench = self.workbench(quick=True)
        program = dict(measurements.device(workbench))["program"]()
        self.assertIn("tvmap", program["summary"])
        for batch in (1, 4):
            values = measurements.own_steps(workbench, "fp32", batch)
            self.assertGreater(values["seconds"], 0)
            self.assertGreaterEqual(len(values["all_seconds"]), 2)
            self.assertGreater(values["memory"]["predicted"], 0)
        workbench.binaries.program = self.script("tvmap", f'exec "{PROGRAM}" "$@" --filter parameter_map --size 64')
        self.assertEqual(dict(measurements.bench(workbench))["batch 16"]()["summary"], "batch 16: 2 kernels")
        self.run_items(workbench, "bench", measurements.bench(workbench))
        self.assertRegex(gpu_table.write(workbench.out, STAGES),
                         r"\| parameter_map_backward \| 16×2×64×64 \| \S+ \| \d+ \| \d+ % \|")

    def test_experiment(self):
        workbench = self.workbench(quick=True)
        found = self.run_items(workbench, "experiment", measurements.experiment(workbench))
        self.assertEqual({status for status, _ in found.values()}, {"skipped"})
        data = self.folder / "data"
        for part in ("train", "val", "test"):
            workbench.tvmap("phantoms", "phantoms", "--out", data / part, "--count", 2, "--seed", 1, "--size", 32)
        workbench = self.workbench(quick=True, data=data)
        items = measurements.experiment(workbench)
        # Evaluated only when trained.
        self.assertEqual(self.run_items(workbench, "experiment", items[1:])["chest_xray fp32: σ = 0.5"],
                         ("unfinished", "not trained yet"))
        found = self.run_items(workbench, "experiment", items)
        self.assertEqual({status for status, _ in found.values()}, {"passed"}, found)
        self.assertIn("4 steps in", found["chest_xray fp32: training"][1])
        text = gpu_table.write(workbench.out, STAGES)
        self.assertIn("| chest_xray fp32 | 2 epochs, 4 steps in", text)
        self.assertIn("| chest_xray fp32 | σ drawn, 2 images |", text)
        self.assertIn("--quick", text)


class Table(Case):
    def setUp(self):
        super().setUp()

        def item(status="passed", summary="", **values):
            return {"status": status, "summary": summary, "seconds": 1.0, "values": values}

        def own(precision, batch, seconds):
            return {"precision": precision, "batch": batch, "seconds": seconds, "all_seconds": [seconds] * 3,
                    "memory": {"predicted": 160e6, "measured": 163e6}}

        def torch(form, mode, *steps):
            return {"steps": [{"form": form, "mode": mode, "precision": precision, "batch": batch, "seconds": seconds,
                               "reserved_bytes": 2e9} for precision, batch, seconds in steps]}

        quality = {"psnr": {"mean": 30.25}, "ssim": {"mean": 0.802}}
        self.records = {
            "device": {"gpu": item(summary="NVIDIA H200, 580.1")},
            "tests": {"cuda_layers_gpu_test": item(summary="120 assertions"),
                      "cuda_pdhg_gpu_test": item("failed", "ended with 1: see cuda_pdhg_gpu_test.txt")},
            "steps": {"tvmap fp32 batch 1": item(**own("fp32", 1, 0.002)),
                      "tvmap again fp32 batch 1": item(**own("fp32", 1, 0.004)),
                      "tvmap fp32 batch 16": item(**own("fp32", 16, 0.016)),
                      "PyTorch roll eager": item(**torch("roll", "eager", ("fp32", 1, 0.06), ("fp32", 16, 0.08))),
                      "PyTorch roll compile": item("failed", "not done after 500 s")},
            "bench": {"batch 1": item(kernels=[{"kernel": "add", "shape": "1×32", "seconds": 1e-5, "bytes_per_second": 3e12,
                                                "memory_share": 0.71, "operations_per_second": 0, "arithmetic_share": 0}])},
            "experiment": {"chest_xray fp32: training": item(epochs=500, steps=100000, seconds=240.0, best_psnr=34.1),
                           "chest_xray fp32: σ = 0.5": item(images=100, noisy=quality, scalar=quality, map=quality,
                                                            gain={"psnr": 1.51, "ssim": 0.04}),
                           "chest_xray fp32: σ drawn": item("unfinished", "the time was up")}}
        self.out = self.folder / "out"
        (self.out / "stages").mkdir(parents=True)
        for stage, items in self.records.items():
            gpu_workbench.write_record(self.out, stage, {"build": "0123", "when": "2026-01-02 03:04:05", "items": items})

    def test_lines(self):
        result = gpu_check("--table", "--out", self.out)  # needs no GPU
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, (self.out / "table.md").read_text(encoding="utf-8"))
        for line in ("- NVIDIA H200, 580.1",
                     "| tests | **failed** | 1 passed, 1 failed | 2 s | 2026-01-02 03:04:05 |",
                     "| experiment | **unfinished** | 2 passed, 1 unfinished | 3 s | 2026-01-02 03:04:05 |",
                     "| agreement | **not run** |  | 0 s |  |",
                     "- tests, cuda_pdhg_gpu_test: failed: ended with 1: see cuda_pdhg_gpu_test.txt",
                     # The median of 2, 2, 2, 4, 4, 4 ms.
                     "| fp32, batch 1 | 3.00 ms | 60.0 ms (**20.0×**) |",
                     "| fp32, batch 16 | 16.0 ms (1.00 ms an image) | 80.0 ms (**5.0×**) |",
                     "| tvmap fp32 batch 1 | 160 MB | 163 MB |",
                     "| PyTorch roll eager, fp32 batch 16 |  | 2000 MB |",
                     "| add | 1×32 | 0.0100 | 3000 | 71 % | 0 | 0 % |",
                     "| chest_xray fp32 | 500 epochs, 100000 steps in 4.0 min, validation 34.10 dB |  |  |  |  |"):
            self.assertIn(line + "\n", result.stdout)
        self.assertIn("**+1.51 dB, +0.040**", result.stdout)
        table = json.loads((self.out / "table.json").read_text(encoding="utf-8"))
        self.assertEqual({stage: found["status"] for stage, found in table["stages"].items()},
                         {"device": "passed", "tests": "failed", "agreement": "not run", "steps": "failed", "bench": "passed",
                          "experiment": "unfinished", "sanitizer": "not run"})
        self.assertEqual(table["steps"][0], {"precision": "fp32", "batch": 1, "seconds": {"tvmap": 0.003, "roll, eager": 0.06}})

    def test_several_builds_are_said(self):
        gpu_workbench.write_record(self.out, "bench", {"build": "4567", "when": "", "items": {}})
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertIn("of 2 builds: 0123, 4567", gpu_table.write(self.out, STAGES))


if __name__ == "__main__":
    unittest.main(verbosity=2)
