#!/usr/bin/env python3
"""Images that nothing can be said of (blank, without noise, smaller than SSIM's window) and figures that cannot be
drawn: they are named, means are taken over the others, every number stands, and the exit code is 0."""
import csv
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

PROGRAM = os.environ["TVMAP"]
TINY = """
data: {train: images, val: val, test: test, size: 16, limit: {train: 2, val: 3, test: 3}}
network: {channels: [4, 4]}
solver: {iterations: 8}
train: {epochs: 3}
evaluate: {iterations: 8, search: {count: 3}}
study: {modes: [masks], images: 3, iterations: [4, 8], sizes: [16], repeat: 1, reference_iterations: 0, steps: 2,
        train_iterations: [4], test_iterations: [4, 8], step_sizes_iterations: []}
"""
GNUPLOTS = {  # what stands in the place of gnuplot, and what must be said
    "fails": ("echo 'line 1: unknown or ambiguous terminal type' >&2; exit 1", "unknown or ambiguous terminal"),
    "killed": ("kill -9 $$", "signal 9"),
    "draws nothing": ("exit 0", "No such file"),
    "no pngcairo": (r'''script=$(cat); case "$script" in *pngcairo*) echo 'line 1: no pngcairo' >&2; exit 1;; esac
name=$(printf '%s' "$script" | sed -n "s/^set output '\(.*\)'$/\1/p"); echo drawn > "$name"''', "no pngcairo"),
}


def png(values, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + bytes(values(i, j) % 256 for j in range(side)) for i in range(side))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def run(folder, *arguments, **environment):
    return subprocess.run([PROGRAM, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, **environment))


def succeeds(folder, *arguments, **environment):
    result = run(folder, *arguments, **environment)
    assert result.returncode == 0, (arguments, result)
    return result


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def numbers(table, but=("name", "quantity", "mode", "step_sizes")):
    """The cells that hold numbers; an interval of few images is empty."""
    return [float(cell) for row in table for key, cell in row.items()
            if key not in but and not (key in ("low", "high") and cell == "")]


def evaluation(folder):
    """A blank image among the test images: the means are those of the same test without it."""
    whole = succeeds(folder, "evaluate", "run", "--out", "whole", "--pictures", 3)
    assert "2 images" in whole.stdout and "the map is better on" in whole.stdout and "of 2 images" in whole.stdout, whole
    assert whole.stdout.count("left out of the means") == 1 and ": blank\n" in whole.stdout, whole
    assert "nan" not in whole.stdout and "inf" not in whole.stdout, whole
    table = {row["name"]: row for row in rows(folder / "whole/per_image.csv")}
    assert list(table) == ["a", "b", "blank"] and table["blank"]["noisy_psnr"] == "inf", table
    assert all(math.isfinite(x) for x in numbers([table["a"], table["b"]])), table
    assert all(math.isfinite(x) for x in numbers(rows(folder / "whole/summary.csv") + rows(folder / "whole/curves.csv")))
    succeeds(folder, "evaluate", "run", "--out", "without", "--set", "data.limit.test=2")
    for name in ("summary.csv", "curves.csv"):
        assert (folder / "whole" / name).read_text() == (folder / "without" / name).read_text(), name
    assert (folder / "whole/images/blank_map.png").exists()

    said = succeeds(folder, "evaluate", "run", "--out", "quiet", "--json", "--quiet")
    result = json.loads(said.stdout)
    assert result["left_out"] == ["blank"] and result["images"] == 3, result
    assert "warning: " in said.stderr and "blank" in said.stderr and said.stderr.count("\n") <= 2, said


def without_noise(folder):
    """Every noisy image is the clean one: there is nothing to average, and still no failure."""
    said = succeeds(folder, "evaluate", "run", "--out", "noiseless", "--set", "evaluate.sigma=0")
    assert "0 images" in said.stdout and "a, b, blank" in said.stdout, said
    assert "nan" not in said.stdout and "inf" not in said.stdout.replace("infinite", ""), said
    assert len(rows(folder / "noiseless/per_image.csv")) == 3


def below_the_window(folder):
    """8×8 pixels: room for the uniform window, not for the Gaussian one."""
    said = succeeds(folder, "evaluate", "run", "--out", "small", "--set", "data.size=8")
    table = {row["quantity"]: row["mean"] for row in rows(folder / "small/summary.csv")}
    assert table["map_ssim"] == "nan" and math.isfinite(float(table["map_ssim_uniform"])), table
    assert math.isfinite(float(table["gain_psnr"])) and "–" in said.stdout and "nan" not in said.stdout, said

    said = succeeds(folder, "search", "small.png", "--clean", "clean.png", "--count", 3, "--json")
    image = json.loads(said.stdout)["images"][0]
    assert image["ssim_gaussian"] is None and image["psnr"]["lambda"] >= 0, image
    said = succeeds(folder, "search", "small.png", "--clean", "clean.png", "--count", 3)
    assert "nan" not in said.stdout and "no ssim_gaussian" in said.stdout, said


def equal_images(folder):
    said = succeeds(folder, "search", "val/blank.png", "--clean", "val/blank.png", "--count", 3, "--json")
    assert "warning: val/blank.png" in said.stderr and said.stderr.count("\n") == 1, said


def validation(folder, trained):
    """The blank validation image decides nothing: the best epoch is the one that it is without that image."""
    other = succeeds(folder, "train", "tiny.yaml", "--run", "other", "--json", "--set", "data.limit.val=2")
    with_blank, without = json.loads(trained.stdout), json.loads(other.stdout)
    assert with_blank["best_epoch"] == without["best_epoch"] >= 1, (with_blank, without)
    assert with_blank["best_psnr"] == without["best_psnr"], (with_blank, without)
    assert trained.stderr.count("left out of the means") == 1 and "blank" in trained.stderr, trained
    assert "left out" in (folder / "run/log.txt").read_text()
    for row, same in zip(rows(folder / "run/metrics.csv"), rows(folder / "other/metrics.csv"), strict=True):
        assert math.isfinite(float(row["val_psnr"])) and row["val_psnr"] == same["val_psnr"], row


def nothing_to_validate(folder):
    said = succeeds(folder, "train", "tiny.yaml", "--run", "blind", "--json", "--set", "data.val=blanks")
    result = json.loads(said.stdout)
    assert result["best_epoch"] == 0 and result["best_psnr"] is None, result
    assert not (folder / "blind/checkpoints/best.safetensors").exists()
    assert all(row["val_psnr"] == "" for row in rows(folder / "blind/metrics.csv"))


def study(folder):
    """Both its parts: gradients of test images, quality on validation images."""
    said = succeeds(folder, "study", "tiny.yaml", "--out", "study")
    assert said.stdout.count("blank") == 2 + 2, said  # two lines, each with the word and the name
    for name in ("gradient", "training", "iterations"):
        assert all(math.isfinite(x) for x in numbers(rows(folder / "study" / f"{name}.csv"))), name
    assert "blank" in (folder / "study/summary.txt").read_text()
    result = run(folder, "study", "tiny.yaml", "--out", "blind_study", "--set", "data.test=blanks")
    assert result.returncode == 1 and "blanks: only blank images" in result.stderr, result
    said = succeeds(folder, "study", "tiny.yaml", "--out", "blind_study2", "--set", "data.val=blanks")
    assert "nan" not in said.stdout, said


def figures(folder):
    for number, (how, (script, reason)) in enumerate(GNUPLOTS.items()):
        tools = folder / f"tools{number}"
        tools.mkdir()
        (tools / "gnuplot").write_text("#!/bin/sh\n" + script + "\n")
        (tools / "gnuplot").chmod(0o755)
        for command in (["evaluate", "run"], ["study", "tiny.yaml"]):
            out = folder / f"{command[0]}{number}"
            said = succeeds(folder, *command, "--out", out, PATH=f"{tools}:/usr/bin:/bin")
            lines = [line for line in said.stderr.splitlines() if "warning: " in line]
            assert len(lines) == 1 and reason in lines[0] and ".png" in lines[0], (how, said)
            assert (out / "summary.txt").read_text() in said.stdout, (how, said)
            drawn = sorted(path.name for path in out.iterdir() if path.suffix in (".svg", ".png"))
            assert bool(drawn) == (how == "no pngcairo") and not [x for x in drawn if ".png" in x], (how, drawn)
            assert not [path for path in out.iterdir() if path.name.startswith(".")], how
    (folder / "nothing").mkdir()
    said = succeeds(folder, "evaluate", "run", "--out", "absent", PATH=str(folder / "nothing"))
    assert "gnuplot is not installed" in said.stderr, said


def main():
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        folder = Path(name)
        (folder / "tiny.yaml").write_text(TINY)
        steps = lambda i, j: 40 * (i // 5) + 60 * (j // 7)
        bars = lambda i, j: 200 * (j // 4 % 2)
        blank = lambda i, j: 128
        for place, pictures in {"images": (steps, bars), "val": (steps, bars, blank), "test": (bars, steps, blank),
                                "blanks": (blank,)}.items():
            (folder / place).mkdir()
            for picture, image in zip(("a", "b", "blank") if len(pictures) > 1 else ("blank",), pictures):
                (folder / place / f"{picture}.png").write_bytes(png(image, 16))
        (folder / "clean.png").write_bytes(png(bars, 8))
        (folder / "small.png").write_bytes(png(lambda i, j: 20 + 160 * (j // 4 % 2) + 31 * (i * j % 3), 8))
        trained = succeeds(folder, "train", "tiny.yaml", "--run", "run", "--json")
        validation(folder, trained)
        nothing_to_validate(folder)
        evaluation(folder)
        without_noise(folder)
        below_the_window(folder)
        equal_images(folder)
        study(folder)
        figures(folder)


if __name__ == "__main__":
    sys.exit(main())
