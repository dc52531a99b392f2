#!/usr/bin/env python3
"""Every __global__ function of kernels/ must have been launched, and its result compared, by an emulated test of
this run (which note both in TVMAP_KERNEL_RECORD). Fails with the names of those that were not."""
import os
import pathlib
import re
import sys

source = pathlib.Path(os.environ["TVMAP_SOURCE"])
records = pathlib.Path(os.environ["TVMAP_KERNEL_RECORD"])

KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(")


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


defined = {}
for file in sorted(file for kind in ("*.cu", "*.h") for file in (source / "kernels").rglob(kind) if file.parent.name not in ("cuda", "emulation")):
    text = without_comments(file.read_text(encoding="utf-8"))
    names = KERNEL.findall(text)
    if len(names) != len(re.findall(r"\b__global__\b", text)):
        sys.exit(f"kernel_coverage: {file.name}: a __global__ function whose name this script cannot read")
    for name in names:
        defined[name] = file.relative_to(source).as_posix()
if not defined:
    sys.exit("kernel_coverage: no kernels found; is TVMAP_SOURCE the project's folder?")

compared = set()
tests = {file.stem for file in (source / "tests").rglob("*_test.cpp")}
for file in sorted(records.glob("*.txt")):
    if file.stem in tests:  # not what is left of a test that is gone
        compared.update(file.read_text(encoding="utf-8").split())

missing = sorted(name for name in defined if name not in compared)
for name in missing:
    print(f"{defined[name]}: {name}: no emulated test launches it and compares its result")
print(f"{len(defined) - len(missing)} of {len(defined)} kernels compared")
sys.exit(1 if missing else 0)
