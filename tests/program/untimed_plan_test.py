#!/usr/bin/env python3
"""A plan is arithmetic: it takes no memory to speak of, however much it predicts, and says what lies within bounds as long as no
algorithm was timed."""
import json
import os
import pathlib
import sys
import tempfile
import unittest

TVMAP, SOURCE = os.environ["TVMAP"], pathlib.Path(os.environ["TVMAP_SOURCE"])
SANITIZED = any(library in pathlib.Path(TVMAP).read_bytes() for library in (b"libasan", b"libtsan"))


class UntimedPlan(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def tvmap(self, *arguments):
        """The result as JSON, and the most memory that the process had, in bytes."""
        out, error = self.folder / "out", self.folder / "error"
        process = os.fork()
        if process == 0:
            os.environ["XDG_CACHE_HOME"] = str(self.folder / "cache")
            os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os.dup2(os.open(error, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            os.execv(TVMAP, [TVMAP, *map(str, arguments), "--device", "cpu", "--json", "--quiet"])
        _, status, usage = os.wait4(process, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0, error.read_text())
        return json.loads(out.read_text()), usage.ru_maxrss * 1024

    def train(self, *arguments, **settings):
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return self.tvmap("train", SOURCE / "configs" / "chest_xray.yaml", *sets, *arguments)

    def test_what_is_predicted_is_not_taken(self):
        _, least_resident = self.train("--plan", **{"data.size": 32})
        large, resident = self.train("--plan", **{"data.size": 1024})
        self.assertGreater(large["memory"]["predicted"], 1e9)
        self.assertGreater(large["untimed"], 0)
        if not SANITIZED:
            # More than the small plan takes: somewhat larger code for larger layers.
            self.assertLess(resident, least_resident + 30e6)
        self.assertFalse((self.folder / "cache" / "tvmap").exists())

    def test_a_batch_that_no_machine_holds(self):
        settings = {"data.size": 128, "network.channels": "[16, 32]", "data.limit.train": 200000, "train.batch": 200000}
        plan, _ = self.train("--plan", **settings)
        self.assertGreater(plan["memory"]["predicted"], 200000 * 128 * 128 * 16 * 4)

    def test_bounds_hold_once_timed(self):
        settings = {"data.size": 64, "network.channels": "[16, 24]", "solver.iterations": 8, "evaluate.iterations": 8,
                    "train.batch": 2, "data.limit.train": 2, "data.limit.val": 1}
        before, _ = self.train("--plan", **settings)
        self.tvmap("phantoms", "--out", self.folder / "images", "--count", 2, "--size", 64, "--seed", 1)
        data = {f"data.{name}": self.folder / "images" for name in ("train", "val", "test")}
        self.train("--run", self.folder / "run", **settings, **data, **{"train.epochs": 1})
        after, _ = self.train("--plan", **settings)
        self.assertGreater(before["untimed"], 0)
        self.assertEqual(after["untimed"], 0)
        self.assertEqual(after["least"], after["memory"]["predicted"])
        arena = ("values", "gradients", "saved", "workspace", "gaps", "validation")
        total = {name: sum(plan["memory"]["owners"][owner]["predicted"] for owner in arena)
                 for name, plan in (("before", before), ("after", after))}
        self.assertLessEqual(total["after"], total["before"])
        self.assertLessEqual(before["least"] - before["memory"]["owners"]["primitives"]["predicted"], after["least"])


if __name__ == "__main__":
    sys.exit(unittest.main())
