#!/usr/bin/env python3
"""cmake --install: the program runs where it was put, finds its parts there, and man and shells find what tells about it."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = Path(os.environ["TVMAP"])
PARTS = ("bin/tvmap", "share/man/man1/tvmap.1", "share/bash-completion/completions/tvmap", "share/zsh/site-functions/_tvmap",
         "share/fish/vendor_completions.d/tvmap.fish", "share/tvmap/configs/quickstart.yaml")


def output(*command, **how):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def check(condition, what):
    if not condition:
        sys.exit(f"install_test: {what}")


with tempfile.TemporaryDirectory() as name:
    prefix = Path(name).resolve() / "a prefix"
    output("cmake", "--install", PROGRAM.parent, "--prefix", prefix)
    installed = prefix / "bin/tvmap"
    for part in PARTS:
        check((prefix / part).is_file(), f"{part} is not installed")
    # Nothing of the build is looked into: its path stands in no file.
    for file in prefix.rglob("*"):
        if file.is_file() and not file.is_symlink():
            paths = output("readelf", "-d", file) if file.read_bytes()[:4] == b"\x7fELF" else file.read_bytes().decode(errors="replace")
            check(str(PROGRAM.parent) not in paths, f"{file.relative_to(prefix)} names {PROGRAM.parent}")
    # Weights that come with the program: those of the build, and what lies beside them.
    weights = prefix / "share/tvmap/weights"
    listed = {p.name for p in (PROGRAM.parent / "configs/weights").glob("*.safetensors")}
    check({p.name for p in weights.glob("*.safetensors")} == listed, "other weights are installed than come with the program")
    check(not (prefix / "share/tvmap/configs/weights").exists(), "the weights are installed twice")
    weights.mkdir(exist_ok=True)
    (weights / "one_more.safetensors").write_text("")
    found = {w["name"]: w["path"] for w in json.loads(output(installed, "info", "--json"))["weights"]}
    check(set(found) == {Path(p).stem for p in listed} | {"one_more"} and found["one_more"] == str(weights / "one_more.safetensors"),
          f"of the weights that are installed, and one more, it finds {found}")
    built, there = (json.loads(output(program, "info", "--json")) for program in (PROGRAM, installed))
    for fact in ("version", "tiff", "dicom", "cuda_backend"):
        check(built[fact] == there[fact], f"{fact}: {there[fact]}, and in the build {built[fact]}")
    for part, told in {"share/man/man1/tvmap.1": ["help", "--man"], "share/bash-completion/completions/tvmap": ["completion", "bash"],
                       "share/zsh/site-functions/_tvmap": ["completion", "zsh"],
                       "share/fish/vendor_completions.d/tvmap.fish": ["completion", "fish"]}.items():
        check((prefix / part).read_text(encoding="utf-8") == output(installed, *told), f"{part} is not what the program says")
print("all as it should be")
