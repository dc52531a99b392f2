#!/usr/bin/env python3
"""Less and less memory, down to what the program cannot even be loaded in: training works, or says in one line that it does
not, and never ends by a signal."""
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import unittest

TVMAP, SOURCE = os.environ["TVMAP"], pathlib.Path(os.environ["TVMAP_SOURCE"])
SANITIZED = any(library in pathlib.Path(TVMAP).read_bytes() for library in (b"libasan", b"libtsan"))


@unittest.skipIf(SANITIZED, "sanitizers map more than is there")
class LittleRoom(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def tvmap(self, *arguments, limit=None):
        """Runs it with `limit` bytes of address space."""
        def narrow():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if limit:
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        environment = dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"), OMP_NUM_THREADS="2")
        return subprocess.run([TVMAP, *map(str, arguments)], env=environment, capture_output=True, text=True, preexec_fn=narrow,
                              timeout=120)

    def train(self, run, limit=None):
        settings = {f"data.{name}": self.folder / "images" for name in ("train", "val", "test")} | {
            "data.size": 32, "network.channels": "[4, 8]", "solver.iterations": 8, "data.limit.train": 3, "data.limit.val": 1,
            "train.epochs": 1}
        arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return self.tvmap("train", SOURCE / "configs" / "chest_xray.yaml", *arguments, "--device", "cpu", "--quiet", "--run",
                          self.folder / run, limit=limit)

    def test_one_line_or_a_run(self):
        made = self.tvmap("phantoms", "--out", self.folder / "images", "--count", 3, "--seed", 1, "--quiet")
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertEqual(self.train("first").returncode, 0)  # times the algorithms
        ended = []
        limit, step = 160 << 20, 4 << 20
        while limit > 0:
            run = f"limit_{limit >> 20}"
            result = self.train(run, limit)
            if self.tvmap("--version", limit=limit).returncode not in (0, 1):  # its libraries do not get as far as main()
                break
            ended.append(result.returncode)
            lines = result.stderr.splitlines()
            with self.subTest(mebibytes=limit >> 20, lines=lines):
                self.assertIn(result.returncode, (0, 1))
                if result.returncode == 0:
                    fewer = [line for line in lines if "threads: the system starts no more" in line]
                    self.assertEqual(lines, fewer)
                else:
                    self.assertIn(len(lines), (1, 2))  # two where it first said that it takes fewer threads
                    self.assertTrue(all(line.startswith("tvmap train: ") for line in lines))
                    self.assertNotIn("unexpected", lines[-1])
            limit -= step
        self.assertIn(0, ended)
        self.assertIn(1, ended)


if __name__ == "__main__":
    sys.exit(unittest.main())
