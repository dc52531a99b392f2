#!/usr/bin/env python3
"""tools/compare without what it compares with: its tables from figures as they are measured, the turns that contenders take, and
measuring processes, of which a small stand-in is one.

TVMAP_SOURCE: the source folder."""
import contextlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["TVMAP_SOURCE"]).resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(SOURCE / "tools"))
import compare_table  # noqa: E402
import compare_worker  # noqa: E402
from compare_contenders import Failed, Worker, environments, turns  # noqa: E402

# A measuring process: work of 4 and 20 ms; with an argument it ends in the round of that number.
STAND_IN = f"""
import itertools, sys, time
sys.path.insert(0, {str(SOURCE / "tools")!r})
import compare_worker
calls, last = itertools.count(), int(sys.argv[1])
def run():
    if next(calls) == last:
        sys.exit("first line\\nno memory")
    time.sleep(0.004)
compare_worker.answer(compare_worker.measure(run, lambda: time.sleep(0.02), 1, "--serve" in sys.argv))
"""


def found(*seconds, **more):
    return compare_table.summary([{"seconds": value, **more} for value in seconds], "seconds")


class Table(unittest.TestCase):
    def test_summary_is_the_median_and_all(self):
        self.assertEqual(compare_table.summary([{"a": 3, "b": 1}, {"a": 1, "b": 2}, {"a": 8, "b": 3}], "a"),
                         {"a": 8, "b": 3, "median": 3, "all": [3, 1, 8]})
        self.assertEqual(found(1.0, 2.0)["median"], 1.5)

    def test_three_digits(self):
        for value, shown in ((0.0456, "0.05"), (8.104, "8.10"), (9.996, "10.0"), (10.94, "10.9"), (99.97, "100"), (504.2, "504"),
                             (1354.4, "1,354")):
            self.assertEqual(compare_table.digits(value), shown)

    def test_ratio(self):
        for ratio, shown in ((0.5, "0.5×"), (2.25, "2.2×"), (9.94, "9.9×"), (9.96, "10×"), (61.6, "62×"), (1134.2, "1,134×")):
            self.assertEqual(compare_table.times(ratio), shown)

    def test_spread_stands_in_the_units_of_the_median(self):
        # Either side of a second, and around the change to three digits.
        self.assertEqual(compare_table.shown(found(0.9, 1.2, 1.1), "seconds"), "1.10 s (0.90 … 1.20)")
        self.assertEqual(compare_table.shown(found(0.0081, 0.0079, 0.0112), "seconds"), "8.10 ms (7.90 … 11.2)")
        self.assertEqual(compare_table.shown(found(0.0081), "seconds"), "8.10 ms")
        self.assertEqual(compare_table.shown(compare_table.summary([{"peak": 10.9e6}], "peak"), "bytes"), "10.9 MB")

    def test_lines(self):
        rows = [{"name": "solver", "unit": "seconds",
                 "found": {"tvmap": found(0.008, 0.009, 0.0085), "roll": found(0.500, 0.520, 0.510),
                           "compile": {"failed": "no g++"}}},
                {"name": "network", "unit": "seconds", "found": {"tvmap": found(0.08), "compile": found(0.18)}}]
        titles = {"roll": "PyTorch 1.13, roll", "compile": "PyTorch 2.15, compile"}
        self.assertEqual(compare_table.table("256×256", rows, titles), [
            "| 256×256 | tvmap | PyTorch 1.13, roll | PyTorch 2.15, compile |",
            "|---|---|---|---|",
            # 0.51 / 0.0085
            "| solver | 8.50 ms (8.00 … 9.00) | 510 ms (500 … 520) **60×** | failed |",
            # 0.18 / 0.08, 2.25, which is shown to one digit
            "| network | 80.0 ms | – | 180 ms **2.2×** |"])
        self.assertEqual(compare_table.failures(rows, titles), ["PyTorch 2.15, compile failed in “solver”: no g++"])

    def test_denoising(self):
        results = {"tvmap": found(0.008, weight=0.1, psnr=28.834, iterations=256),
                   "chambolle": found(0.012, weight=0.14, psnr=28.826, iterations=23, limit=200, tolerance=2e-4),
                   "bregman": {"failed": "x"}}
        titles = {"tvmap": "tvmap", "chambolle": "Chambolle", "bregman": "Bregman"}
        self.assertEqual(compare_table.denoising_table(results, titles)[2:], [
            "| tvmap | 8.00 ms | 256 | 0.10 | 28.83 dB |",
            "| Chambolle | 12.0 ms **1.5×** | 23, tolerance 0.0002, at most 200 | 0.14 | 28.83 dB |",
            "| Bregman | failed |  |  |  |"])

    def test_memory_formats(self):
        by_format = {"contiguous_format": 0.23, "channels_last": 0.2}
        results = {"tvmap": found(0.1), "a": found(0.2, memory_format="channels_last", seconds_by_format=by_format),
                   "b": {"failed": "x"}}
        self.assertEqual(compare_table.memory_formats(results, {"a": "PyTorch A", "b": "PyTorch B"}),
                         "PyTorch A: channels_last (contiguous_format takes 1.15 times as long)")

    def test_page(self):
        self.assertEqual(compare_table.page([["| a |", "|---|"], [], ["| b |"]], ["one", "two"]),
                         "| a |\n|---|\n\n| b |\n\n- one\n- two\n")


class Turns(unittest.TestCase):
    def setUp(self):
        self.order, self.said = [], []

    def contender(self, name, values):
        values = iter(values)

        def measure():
            self.order.append(name)
            value = next(values)
            if value is None:
                raise Failed("gone")
            return {"seconds": value}
        return lambda: measure

    def test_they_alternate(self):
        inside = []

        @contextlib.contextmanager
        def around():
            inside.append(True)
            yield
        result = turns(3, {"tvmap": self.contender("tvmap", [1, 2, 6]), "a": self.contender("a", [7, 9, 8])}, "seconds",
                       self.said.append, around)
        self.assertEqual(self.order, ["tvmap", "a"] * 3)
        self.assertEqual(len(inside), 6)
        self.assertEqual(result["tvmap"], {"seconds": 6, "median": 2, "all": [1, 2, 6]})
        self.assertEqual(result["a"]["median"], 8)

    def test_one_that_fails_is_left_out_and_said(self):
        def not_started():
            raise Failed("not ready")
        result = turns(3, {"tvmap": self.contender("tvmap", [1, 2, 3]), "a": self.contender("a", [7, None]), "b": not_started},
                       "seconds", self.said.append)
        self.assertEqual(self.order, ["tvmap", "a", "tvmap", "a", "tvmap"])
        self.assertEqual((result["a"], result["b"]), ({"failed": "gone"}, {"failed": "not ready"}))
        self.assertIn("    a: failed: gone", self.said)

    def test_the_program_must_not_fail(self):
        with self.assertRaisesRegex(Failed, "gone"):
            turns(2, {"tvmap": self.contender("tvmap", [1, None])}, "seconds", self.said.append)


class Environments(unittest.TestCase):
    def test_one_that_cannot_be_made_is_named(self):
        def no_network():
            raise Failed("cannot be installed from PyPI: no network")
        finders = {"debian": lambda: "/usr/bin/python3", "current": no_network}
        left_out = ["Left out: eager, skimage: cannot be installed from PyPI: no network."]
        self.assertEqual(environments(["roll", "eager", "skimage"], finders), ({"debian": "/usr/bin/python3"}, left_out))
        self.assertEqual(environments(["eager", "skimage"], finders), ({}, left_out))
        self.assertEqual(environments(["published"], finders), ({"debian": "/usr/bin/python3"}, []))  # nothing else is looked for


class Workers(unittest.TestCase):
    def start(self, last_round, **options):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        script = pathlib.Path(folder.name) / "stand_in.py"
        script.write_text(STAND_IN, encoding="utf-8")
        worker = Worker([sys.executable, script, last_round], 1, **options)
        self.addCleanup(worker.close)
        return worker

    def test_a_process_serves_all_rounds(self):
        worker = self.start(-1)
        process = worker.process.pid
        for _ in range(3):
            result = worker()
            self.assertGreaterEqual(result["seconds"], 0.004)
            self.assertEqual(len(result["all_seconds"]), 1)
            self.assertGreater(result["peak_bytes"], 1e6)
        self.assertEqual(worker.process.pid, process)
        self.assertIsNone(worker.process.poll())
        worker.close()
        self.assertIsNotNone(worker.process.poll())

    def test_its_last_line_is_why_it_failed(self):
        worker = self.start(1)
        worker()
        for _ in range(2):
            with self.assertRaisesRegex(Failed, "^no memory$"):
                worker()

    def test_one_that_does_not_get_ready(self):
        with self.assertRaisesRegex(Failed, "^not ready after 0.001 s$"):
            self.start(-1, longest_start=0.001)

    def test_one_that_crashes(self):
        worker = self.start(-1)
        os.kill(worker.process.pid, signal.SIGSEGV)
        with self.assertRaisesRegex(Failed, "^ended by signal 11$"):
            worker()

    def test_one_measurement_without_serving(self):
        calls = []
        with contextlib.redirect_stdout(io.StringIO()) as said:
            results = list(compare_worker.measure(lambda: calls.append("run"), lambda: calls.append("warm"), repeat=3))
        self.assertEqual(calls, ["warm"] + ["run"] * 4)  # the first is not timed
        self.assertEqual((len(results), len(results[0]["all_seconds"]), said.getvalue()), (1, 3, ""))


class Arguments(unittest.TestCase):
    def test_unknown_names_are_refused(self):
        for option, value, words in (("--contenders", "roll,rol", "no rol: choose from roll,"),
                                     ("--rows", "", "choose from solver,"), ("--rounds", "0", "--rounds: give 1 or more")):
            result = subprocess.run([SOURCE / "tools/compare", option, value], capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 2)
            self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
