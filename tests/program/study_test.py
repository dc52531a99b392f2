#!/usr/bin/env python3
"""tvmap study on phantoms: exact modes are exact, truncated:T is masks, implicit tends to them, memory is what was
predicted, trainings are tested at every T, an interrupted study keeps its rows, and wrong settings are refused."""
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TVMAP, SOURCE = os.environ["TVMAP"], pathlib.Path(os.environ["TVMAP_SOURCE"])
EXACT = ("masks", "checkpoint", "stored")
SMALL = """
data: {size: 32, limit: {train: 4, val: 2, test: 2}}
network: {channels: [4, 8]}
map: {kind: separate}
solver: {iterations: 8, implicit: {tolerance: 1e-6, cap: 20000}}
train: {batch: 2}
evaluate: {iterations: 16, search: {count: 5}}
study:
    modes: [masks, checkpoint, stored, "truncated:1", "truncated:8", implicit]
    iterations: [4, 8, 256, 2048]
    sizes: [16, 32]
    repeat: 1
    reference_iterations: 4096
    steps: 4
    train_iterations: [4, 8]
    test_iterations: [4, 8]
    step_sizes_iterations: [4]
"""


def command(config, out, *settings, checkpoint=None):
    return [TVMAP, "study", str(config), "--out", str(out), "--threads", "1",
            *(word for setting in settings for word in ("--set", setting)),
            *(("--checkpoint", str(checkpoint)) if checkpoint else ())]


def study(environment, config, out, *settings, **how):
    run = subprocess.run([*command(config, out, *settings, **how), "--quiet", "--json"], env=environment, check=True,
                         stdout=subprocess.PIPE)
    return json.loads(run.stdout)


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def refused(environment, config, out, part, *settings):
    run = subprocess.run(command(config, out, *settings), env=environment, capture_output=True, text=True)
    assert run.returncode == 1 and part in run.stderr and run.stderr.count("\n") == 1, run


def check_gradients(result):
    table = {(row["mode"], row["size"], row["iterations"]): row for row in result["gradient"]}
    # truncated:8 of 4 steps is none.
    assert len(table) == 2 * (4 * 6 - 1) and ("truncated:8", 16, 4) not in table
    for (mode, size, iterations), row in table.items():
        masks, error = table["masks", size, iterations], row["error"]
        if mode in EXACT:
            # fp32 rounding of the adjoint alone: 5e-7 at T = 256, and it grows no faster than T.
            assert 0 < error["relative"] < 5e-6 and error["angle"] < 5e-4, row
            assert row["error_in_double"]["relative"] < 0.05, row  # some decisions of the clip flip
            assert row["adjoint_steps"] == iterations, row
        if mode == "truncated:1" or mode == "truncated:8" and iterations > 8:
            assert 0.01 < error["relative"] < 1.5 and error["angle"] > 0.5, row
    for size in (16, 32):
        assert table["truncated:8", size, 8]["error"] == table["masks", size, 8]["error"]
        assert table["implicit", size, 2048]["error"]["relative"] < 0.1 * table["implicit", size, 8]["error"]["relative"]
        # At the same accuracy in T, the limit is nearer the more steps there are.
        to_limit = [table["masks", size, t]["error_to_limit"]["relative"] for t in (8, 256, 2048)]
        assert to_limit[0] > to_limit[1] > to_limit[2], to_limit
    rates = result["implicit_rates"]
    assert [rate["size"] for rate in rates] == [16, 32] and all(rate["power"] > 0.2 for rate in rates), rates


def check_trainings(result, out):
    trained = [(row["mode"], row["step_sizes"], row["iterations"]) for row in result["training"]]
    modes = [(mode, "none", 8) for mode in (*EXACT, "truncated:1", "truncated:8", "implicit")]
    steps = [("masks", "shared", 4), ("masks", "per_step", 4)]
    assert sorted(trained) == sorted([*modes, ("masks", "none", 4), *steps]), trained
    assert all(row["steps"] == 4 and row["seconds_per_step"] > 0 for row in result["training"])
    tested = result["iterations"]
    assert len(tested) == 3 * len(trained) and {row["tested_iterations"] for row in tested} == {4, 8, 16}
    by_mode = {row["mode"]: row for row in result["training"] if row["step_sizes"] == "none" and row["iterations"] == 8}
    for mode in EXACT:  # the same gradients, so the same networks but for rounding
        assert abs(by_mode[mode]["psnr"] - by_mode["masks"]["psnr"]) < 1e-3, by_mode
    assert by_mode["implicit"]["loss"] != by_mode["masks"]["loss"]
    for row in tested:
        assert 0 < row["psnr"] < 60 and row["scalar_psnr"] >= row["noisy_psnr"] - 0.01, row
    for name in ("masks_T-8", "truncated-1_T-8", "masks_T-4_steps-per_step"):
        assert (out / "trainings" / name / "checkpoints" / "last.safetensors").exists(), name


def check_files(result, out):
    assert len(rows(out / "gradient.csv")) == len(result["gradient"])
    assert len(rows(out / "training.csv")) == len(result["training"])
    assert len(rows(out / "iterations.csv")) == len(result["iterations"])
    summary = (out / "summary.txt").read_text()
    assert "implicit tends to masks like T^-" in summary and "per_step" in summary, summary
    names = ("time", "memory", "error", "quality") if shutil.which("gnuplot") else ()
    for name in names:
        assert "<path" in (out / f"{name}.svg").read_text() and (out / f"{name}.png").stat().st_size > 1000, name
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def check_memory(environment, config, out):
    """256×256: what the modes take is what was predicted, within 5 %."""
    result = study(environment, config, out, "study.sizes=[256]", "study.iterations=[256]", "study.images=1",
                   "study.modes=[masks, checkpoint, stored, implicit]", "study.reference_iterations=0", "study.steps=0",
                   "map.kind=shared")
    bytes_of = {row["mode"]: (row["predicted_bytes"], row["measured_bytes"]) for row in result["gradient"]}
    for mode, (predicted, measured) in bytes_of.items():
        print(f"{mode}: predicted {predicted / 1e6:.2f} MB, measured {measured / 1e6:.2f} MB ({measured / predicted - 1:+.1%})")
        assert abs(measured / predicted - 1) <= 0.05, (mode, predicted, measured)
    assert bytes_of["masks"][1] <= 12e6
    assert bytes_of["stored"][1] >= 300e6  # 20 bytes a pixel and step


def check_interruption(environment, config, out):
    process = subprocess.Popen([*command(config, out, "study.iterations=[4, 65536]"), "--quiet"], env=environment,
                               stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not (out / "gradient.csv").exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "interrupted" in said and said.count("\n") == 1, (process.returncode, said)
    assert rows(out / "gradient.csv")[0]["mode"] == "masks"
    assert (out / "summary.txt").exists()


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
        config = folder / "study.yaml"
        config.write_text(SMALL)
        out = folder / "study"
        result = study(environment, config, out)
        check_gradients(result)
        check_trainings(result, out)
        check_files(result, out)
        refused(environment, config, out, "holds a study already")
        # At the maps of a trained network: other gradients, exact as before.
        network = out / "trainings" / "masks_T-8" / "checkpoints" / "last.safetensors"
        at_maps = study(environment, config, folder / "at_maps", "study.steps=0", "study.sizes=[32]", checkpoint=network)
        assert len(at_maps["gradient"]) == 23 and at_maps["training"] == []
        first, before = at_maps["gradient"][0], next(row for row in result["gradient"] if row["size"] == 32)
        assert first["error"]["relative"] < 5e-6 and first["error_to_limit"] != before["error_to_limit"], first

        check_memory(environment, config, folder / "memory")
        check_interruption(environment, config, folder / "interrupted")
        new = folder / "refused"
        refused(environment, config, new, "the nearest known key is study.modes", "study.mods=[masks]")
        refused(environment, config, new, "there is no gradient 'mask'", "study.modes=[mask]")
        refused(environment, config, new, "study.sizes: 0 is too small", "study.sizes=[0]")
        refused(environment, config, new, "none | shared | per_step", "study.step_sizes=[all]")
        assert not new.exists()
        subprocess.run([*command(SOURCE / "configs" / "study.yaml", folder / "short", "study.steps=0", "study.sizes=[16]",
                                 "study.iterations=[8]", "study.reference_iterations=8"), "--quiet"], env=environment,
                       check=True)


if __name__ == "__main__":
    sys.exit(main())
