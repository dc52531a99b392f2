#!/usr/bin/env python3
"""The plan of the reference experiment: its parameters, and its memory against what the process really takes."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

TVMAP, SOURCE = os.environ["TVMAP"], pathlib.Path(os.environ["TVMAP_SOURCE"])
CONFIG = SOURCE / "configs" / "chest_xray.yaml"


def tvmap(folder, *arguments):
    environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
    result = subprocess.run([TVMAP, *map(str, arguments), "--quiet", "--json"], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(result.stdout)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        plan = tvmap(folder, "train", CONFIG, "--plan")
        assert plan["parameters"] == 1796034, plan["parameters"]

        tvmap(folder, "phantoms", "--out", folder / "images", "--count", 12, "--seed", 1)
        data = [part for name in ("train", "val", "test") for part in ("--set", f"data.{name}={folder / 'images'}")]
        run = tvmap(folder, "train", CONFIG, *data, "--set", "train.epochs=1", "--set", "data.limit.val=1", "--run",
                    folder / "run")
        predicted, measured = run["memory"]["predicted"], run["memory"]["measured"]
        print(f"predicted {predicted / 1e6:.1f} MB, measured {measured / 1e6:.1f} MB ({measured / predicted - 1:+.1%})")
        # The plan is a promise: what it cannot know (stacks of threads, the allocator's slack) stays below a twentieth.
        assert abs(measured / predicted - 1) <= 0.05
        # The same plan without data or run; the primitives' own tables differ by a few pages.
        assert abs(plan["memory"]["predicted"] / predicted - 1) <= 0.02


if __name__ == "__main__":
    sys.exit(main())
