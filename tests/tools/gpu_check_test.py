#!/usr/bin/env python3
"""tools/gpu-check, as far as it can be tested without a GPU: arguments, the one line where there is no GPU, stages that go on
where they were stopped, what it makes of its tools' answers (stand-ins give them), and the stages themselves with the CPU and
with the emulated CUDA backend in the GPU's place. (gpu_check_rehearsal_test.py interrupts whole calls, gpu_archive_test.py and
gpu_table_test.py look at what is left behind.)

TVMAP: the program; TVMAP_SOURCE: the source folder; TVMAP_EMULATED: the emulated backend."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROGRAM, SOURCE = pathlib.Path(os.environ["TVMAP"]).resolve(), pathlib.Path(os.environ["TVMAP_SOURCE"]).resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(SOURCE / "tools"))
import gpu_archive  # noqa: E402
import gpu_measurements as measurements  # noqa: E402
import gpu_table  # noqa: E402
import gpu_tests  # noqa: E402
import gpu_workbench  # noqa: E402
from gpu_workbench import Failed, Skipped, TooLong, Unfinished  # noqa: E402

STAGES = ("device", "tests", "agreement", "steps", "solver", "contenders", "sanitizer", "bench", "experiment")
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
                                 (["--data", self.folder / "none.tar"], "no such folder or tar file"),
                                 (["--from", self.folder / "none.tar.gz"], "no such archive"), (["--call", "third"], "third"),
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
        def killed():
            raise MemoryError
        good = ("good", lambda: {"summary": "fine"})
        with self.assertRaises(MemoryError):
            self.run_items(self.workbench(), "tests", [good, ("next", killed), ("last", killed)])
        with self.assertRaises(MemoryError):
            self.run_items(self.workbench(), "tests", [("new", lambda: {"summary": ""}), ("next", killed), good])
        self.assertEqual(set(gpu_workbench.read_record(self.folder / "out", "tests")["items"]), {"new", "good"})

    def test_items_run_at_once_and_are_postponed_by_name(self):
        workbench = self.workbench()
        meeting = threading.Barrier(2)

        def item(work):
            def found():
                meeting.wait(60)  # both are at work
                return {"summary": work()}
            return found
        late = lambda: workbench.run(["sleep", "60"], "late")  # noqa: E731
        record = gpu_workbench.run_stage(workbench, "tests", [("late", item(late)), ("soon", item(lambda: "fine"))],
                                         lambda *_: None, parallel=2, limit=0.5)
        self.assertEqual(list(record["items"]), ["late", "soon"])  # as listed, though they end in the other order
        self.assertEqual(record["items"]["soon"]["summary"], "fine")
        self.assertEqual(record["items"]["late"]["status"], "unfinished")
        self.assertRegex(record["items"]["late"]["summary"], "postponed: the .* s for tests were up")
        self.assertEqual(workbench.time_left(), float("inf"))

    def test_what_has_no_time_keeps_what_was_found(self):
        def wrong():
            raise Failed("wrong")
        self.run_items(self.workbench(), "tests", [("bad", wrong)])
        workbench = self.workbench()
        workbench.stop.set()
        found = self.run_items(workbench, "tests", [("bad", lambda: workbench.run(["true"], "bad")),
                                                    ("new", lambda: workbench.run(["true"], "new"))])
        self.assertEqual(found, {"bad": ("failed", "wrong"), "new": ("unfinished", "interrupted")})

    def test_commands_keep_to_their_time(self):
        saves = self.script("saves", "trap 'echo saved; exit 130' INT; echo at work; sleep 30 & wait")
        begin = time.monotonic()
        workbench = self.workbench(time_limit=0.5)
        with self.assertRaises(Unfinished):
            workbench.run([saves], "saves", limit=20)
        with self.assertRaises(Unfinished):
            workbench.run(["true"], "too_late")
        with self.assertRaisesRegex(TooLong, "not done after 0 s: see slow.txt") as slow:
            self.workbench(time_limit=60).run(["sh", "-c", "echo result; sleep 30"], "slow", limit=0.4)
        self.assertEqual(slow.exception.output, "result\n")
        self.assertIn("saved", (self.folder / "out/logs/saves.txt").read_text())
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
        found = self.run_items(self.workbench(tests), "tests", gpu_tests.tests(self.workbench(tests)))
        self.assertEqual({key: status for key, (status, _) in found.items()},
                         {"good": "passed", "empty": "failed", "bad": "failed", "none": "skipped", "silent": "failed",
                          "lost": "failed"})
        self.assertEqual(found["good"][1], "12 assertions")
        self.assertEqual(found["none"][1], "SKIPPED: no GPU")
        self.assertEqual(self.run_items(self.workbench(), "tests", gpu_tests.tests(self.workbench()))["tests"][0], "skipped")

    def test_the_reason_of_a_failure_comes_back(self):
        """Which case, the first wrong value, and compute-sanitizer's words on that case alone."""
        rule = "=" * 79
        said = f"""{rule}
layers_test.cpp:10:
TEST CASE:  adds, in place

layers_test.cpp:12: ERROR: CHECK( compared_bits(a, b) ) is NOT correct!
  values: CHECK( [17] of 64 is 1 (3f800000), not 2 (40000000); 3 differ )

{rule}
layers_test.cpp:30:
TEST CASE:  only tells

layers_test.cpp:31: MESSAGE: hello

{rule}
[doctest] assertions: 9 | 8 passed | 1 failed |"""
        self.script("test", f"cat <<'END'\n{said}\nEND\nexit 1")
        self.script("compute-sanitizer", """echo "========= COMPUTE-SANITIZER"; echo "$@"
            case "$2" in memcheck) echo "========= Invalid __global__ read of size 4 bytes"; echo "=========     at 0x30 in add";
                         echo "========= ERROR SUMMARY: 1 error"; exit 99;;
            *) echo "========= RACECHECK SUMMARY: 0 hazards displayed"; exit 1;; esac""")
        os.environ["PATH"] = f"{self.folder}:{os.environ['PATH']}"
        workbench = self.workbench({"cuda_layers_gpu_test": self.folder / "test"})
        status, words = self.run_items(workbench, "tests", gpu_tests.tests(workbench))["cuda_layers_gpu_test"]
        self.assertEqual(status, "failed")
        for part in ("adds, in place: CHECK( compared_bits(a, b) ) is NOT correct! values: CHECK( [17] of 64 is 1 (3f800000)",
                     "memcheck: 1 found, ended with 99: Invalid __global__ read of size 4 bytes",
                     "racecheck: 0 found, ended with 1", "see cuda_layers_gpu_test.txt"):
            self.assertIn(part, words)
        self.assertNotIn("only tells", words)
        self.assertIn(said, (workbench.logs / "cuda_layers_gpu_test.txt").read_text())
        self.assertIn("--test-case=adds? in place\n", (workbench.logs / "cuda_layers_gpu_test-memcheck.txt").read_text())

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
        workbench = self.workbench({name: self.folder / name for name in (*answers, "cuda_convolution_gpu_test")})
        self.addCleanup(setattr, gpu_tests, "OWN_KERNELS", gpu_tests.OWN_KERNELS)
        self.assertEqual([name for name, _ in gpu_tests.sanitizer(self.workbench({"cuda_convolution_gpu_test": "",
                                                                                  "cuda_pdhg_gpu_test": ""}))],
                         ["memcheck cuda_pdhg_gpu_test", "racecheck cuda_pdhg_gpu_test"])  # cuDNN's kernels are not ours
        gpu_tests.OWN_KERNELS = re.compile("^(?!cuda_)")
        found = self.run_items(workbench, "sanitizer", gpu_tests.sanitizer(workbench))
        self.assertEqual(len(found), 2 * len(answers))
        statuses = {name: found[f"racecheck {name}"][0] for name in answers}
        self.assertEqual(statuses, {"clean": "passed", "overrun": "failed", "hazard": "failed", "racefree": "passed",
                                    "wrong": "failed", "refused": "skipped", "broken": "failed", "nothing": "failed"})
        self.assertIn("Device not supported", found["memcheck refused"][1])

    def test_pytorch(self):
        line = '{"form": "roll", "mode": "eager", "precision": "fp32", "batch": 1, "seconds": 0.02, "all_seconds": [0.02]}'
        says = f"""[ "$2" = versions ] && echo '{{"torch": "2"}}' && exit; echo '{line}'; """
        workbench = self.workbench(quick=True, python=str(self.script("python", says)))
        self.assertEqual([key for key, _ in measurements.steps(workbench)][-1], "PyTorch roll eager")
        self.assertIn("batch 1: 20.0 ms", dict(measurements.steps(workbench))["PyTorch roll eager"]()["summary"])
        # What is there before it fails or its time is up counts.
        for trouble, words in (("echo no memory >&2; exit 1", "PyTorch ended with 1: "), ("sleep 60", "not done after")):
            workbench = self.workbench(python=str(self.script("python", says + trouble)))
            workbench.python_with_torch()
            self.addCleanup(measurements.TORCH_LIMIT.update, dict(measurements.TORCH_LIMIT))
            measurements.TORCH_LIMIT["eager"] = 1
            values = dict(measurements.steps(workbench))["PyTorch roll eager"]()
            self.assertIn(words, values["summary"])
            self.assertEqual(values["steps"], [json.loads(line)])
        workbench = self.workbench(python=str(self.script("python", "exit 1")))
        with self.assertRaisesRegex(Failed, "imports no PyTorch"):
            dict(measurements.contenders(workbench))["PyTorch published graph"]()


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
        workbench.binaries.program = self.script("tvmap", f'exec "{PROGRAM}" "$@" --filter map_from_raw --size 64')
        self.assertEqual(dict(measurements.bench(workbench))["batch 16"]()["summary"], "batch 16: 2 kernels")
        self.run_items(workbench, "bench", measurements.bench(workbench))
        self.assertRegex(gpu_table.write(workbench.out, STAGES),
                         r"\| map_from_raw_backward \| 16×2×64×64 \| \S+ \| \d+ \| \d+ % \|")

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
        # From the archive, in which the checkpoint has no moments, the same evaluation.
        archive = gpu_archive.Archive(workbench.out, self.folder / "out.tar.gz", workbench.key)
        archive.write()
        elsewhere = gpu_workbench.Workbench(workbench.binaries, self.folder / "elsewhere", device="cpu")
        shutil.rmtree(elsewhere.out)
        gpu_archive.restore(archive.path, elsewhere.out)
        best = next(elsewhere.out.glob("runs/*/checkpoints/*"))
        self.assertLess(best.stat().st_size, 0.6 * (workbench.out / best.relative_to(elsewhere.out)).stat().st_size)
        elsewhere = gpu_workbench.Workbench(workbench.binaries, self.folder / "elsewhere", data, quick=True, device="cpu",
                                            settings=SMALL)
        config = next(elsewhere.out.glob("runs/*/config.yaml"))  # as a program writes it that was there
        config.write_text(re.sub(r'(?m)^( +test: )".*"$', r'\1"/not/here"', config.read_text()))
        again = dict(measurements.experiment(elsewhere))["chest_xray fp32: σ = 0.5"]()
        self.assertEqual(again["summary"], found["chest_xray fp32: σ = 0.5"][1])
        self.assertEqual(again["map"],
                         gpu_workbench.read_record(workbench.out, "experiment")["items"]["chest_xray fp32: σ = 0.5"]["values"]["map"])
        text = gpu_table.write(workbench.out, STAGES)
        self.assertIn("| chest_xray fp32 | 2 epochs, 4 steps in", text)
        self.assertIn("| chest_xray fp32 | σ drawn, 2 images |", text)
        self.assertIn("--quick", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
