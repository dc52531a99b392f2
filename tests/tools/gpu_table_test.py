#!/usr/bin/env python3
"""The table of tools/gpu-check, from records as its stages write them.

TVMAP_SOURCE: the source folder."""
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["TVMAP_SOURCE"]).resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(SOURCE / "tools"))
import gpu_table  # noqa: E402
import gpu_workbench  # noqa: E402

STAGES = ("device", "tests", "agreement", "steps", "solver", "contenders", "sanitizer", "bench", "experiment")

class Table(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

        def item(status="passed", summary="", **values):
            return {"status": status, "summary": summary, "seconds": 1.0, "values": values, "machine": "H200"}

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
                      "PyTorch roll eager": item(**torch("roll", "eager", ("fp32", 1, 0.06), ("fp32", 16, 0.08)))},
            "solver": {"tvmap solve": item(task="solve", seconds=2.5e-4), "tvmap search": item(task="search", seconds=4e-3),
                       "PyTorch roll graph": item(tasks=[{"task": "solve", "seconds": 0.01}])},
            "contenders": {"PyTorch roll compile": item("failed", "not done after 240 s"),
                           "PyTorch roll graph": item(**torch("roll", "graph", ("fp32", 1, 0.03)))},
            "bench": {"batch 1": item(kernels=[{"kernel": "add", "shape": "1×32", "seconds": 1e-5, "bytes_per_second": 3e12,
                                                "memory_share": 0.71, "operations_per_second": 0, "arithmetic_share": 0}])},
            "experiment": {"chest_xray fp32: training": item(epochs=500, steps=100000, seconds=240.0, best_psnr=34.1),
                           "chest_xray fp32: σ = 0.5": item(images=100, noisy=quality, scalar=quality, map=quality,
                                                            gain={"psnr": 1.51, "ssim": 0.04}),
                           "chest_xray fp32: σ drawn": {**item("unfinished", "the time was up"), "values": None},
                           "chest_xray_fast fp32: training": item("unfinished", "the time was up", epochs=30, steps=1500,
                                                                  seconds=6.0, best_psnr=None)}}
        self.out = self.folder / "out"
        (self.out / "stages").mkdir(parents=True)
        for stage, items in self.records.items():
            gpu_workbench.write_record(self.out, stage, {"build": "0123", "when": "2026-01-02 03:04:05", "items": items})

    def test_lines(self):
        result = subprocess.run([SOURCE / "tools/gpu-check", "--table", "--out", self.out], capture_output=True, text=True,
                                check=False)  # needs no GPU
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, (self.out / "table.md").read_text(encoding="utf-8"))
        for line in ("- NVIDIA H200, 580.1",
                     "| tests | **failed** | 1 passed, 1 failed | 2 s | 2026-01-02 03:04:05 | H200 |",
                     "| experiment | **unfinished** | 2 passed, 2 unfinished | 4 s | 2026-01-02 03:04:05 | H200 |",
                     "| agreement | **not run** |  | 0 s |  |  |",
                     "- tests, cuda_pdhg_gpu_test: failed: ended with 1: see cuda_pdhg_gpu_test.txt",
                     # The median of 2, 2, 2, 4, 4, 4 ms.
                     "| fp32, batch 1 | 3.00 ms | 60.0 ms (**20.0×**) | 30.0 ms (**10.0×**) |",
                     "| fp32, batch 16 | 16.0 ms (1.00 ms an image) | 80.0 ms (**5.0×**) |  |",
                     "| solver alone | tvmap | PyTorch roll graph |", "| solve | 0.25 ms | 10.0 ms (**40.0×**) |",
                     "| search | 4.00 ms |  |", "| chest_xray_fast fp32 | 30 epochs, 1500 steps in 0.1 min |  |  |  |  |",
                     "| tvmap fp32 batch 1 | 160 MB | 163 MB |",
                     "| PyTorch roll eager, fp32 batch 16 |  | 2000 MB |",
                     "| add | 1×32 | 0.0100 | 3000 | 71 % | 0 | 0 % |",
                     "| chest_xray fp32 | 500 epochs, 100000 steps in 4.0 min, validation 34.10 dB |  |  |  |  |"):
            self.assertIn(line + "\n", result.stdout)
        self.assertIn("**+1.51 dB, +0.040**", result.stdout)
        table = json.loads((self.out / "table.json").read_text(encoding="utf-8"))
        self.assertEqual({stage: found["status"] for stage, found in table["stages"].items()},
                         {"device": "passed", "tests": "failed", "agreement": "not run", "steps": "passed", "solver": "passed",
                          "contenders": "failed", "bench": "passed",
                          "experiment": "unfinished", "sanitizer": "not run"})
        self.assertEqual(table["steps"][0], {"precision": "fp32", "batch": 1, "seconds": {"tvmap": 0.003, "roll, eager": 0.06, "roll, graph": 0.03}})

    def test_several_builds_are_said(self):
        gpu_workbench.write_record(self.out, "bench", {"build": "4567", "when": "", "items": {}})
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertIn("of 2 builds: 0123, 4567", gpu_table.write(self.out, STAGES))


if __name__ == "__main__":
    unittest.main(verbosity=2)
