#!/usr/bin/env python3
"""The weights that come with the program: each says what it is and was made of, is small, holds no place of the machine that
made it, and denoises; they are found by name, listed, and taken where none are named. Needs Python's own library alone."""
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from program import check, finish, png, refused, run  # noqa: E402

ROOT = pathlib.Path(os.environ["TVMAP_SOURCE"])
PROVIDED = {path.stem: path for path in sorted((ROOT / "configs" / "weights").glob("*.safetensors"))}
LARGEST = 4_000_000  # bytes


def header_of(path):
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:8 + length])


def says_what_it_is(name, path):
    check(path.stat().st_size <= LARGEST, f"{name}: {path.stat().st_size} bytes are more than {LARGEST}")
    header = header_of(path)
    metadata = header.pop("__metadata__")
    for key in ("tvmap.about", "tvmap.command", "tvmap.data", "tvmap.result", "tvmap.config", "tvmap.steps"):
        check(metadata.get(key), f"{name}: no {key}")
    check("CC BY" in metadata["tvmap.data"] or "licence" in metadata["tvmap.data"], f"{name}: nothing of its data's licence")
    config = metadata["tvmap.config"]
    check('"/' not in config and "/home" not in config, f"{name}: its configuration names a place of a machine")
    check("device: auto" in config, f"{name}: its configuration chooses a device")
    check({entry["dtype"] for entry in header.values()} == {"F16"}, f"{name}: not in 16 bits throughout")
    check(not any(tensor.startswith("optimiser.") for tensor in header), f"{name}: holds Adam's moments")


def denoises(folder, name):
    """Phantoms that none of them has seen; the noise is that of every size. The best scalar λ looks at the clean image, and
    still the map must be better; what is asked of its lead is little, since phantoms are no photographs."""
    relative = "relative_to: image_std" in header_of(PROVIDED[name])["__metadata__"]["tvmap.config"]
    settings = ("data.test=images", "data.size=64", "data.prepare=square", "data.limit.test=3", "evaluate.search.count=25",
                f"evaluate.sigma={0.4 if relative else 0.1}")
    done = run(["evaluate", "--weights", name, "--out", f"evaluation of {name}", "--pictures", "0", "--json",
                *(part for setting in settings for part in ("--set", setting))], folder, timeout=300)
    check(done.returncode == 0, f"evaluate --weights {name}: {done.stderr}")
    if done.returncode != 0:
        return
    result = json.loads(done.stdout)
    check(result["configured"], f"{name}: used without its configuration")
    check(result["gain"]["psnr"] > 0, f"{name}: {result['gain']['psnr']} dB over the best scalar on phantoms")
    print(f"{name}: noisy {result['noisy']['psnr']}, map {result['map']['psnr']}, gain {result['gain']['psnr']:.2f} dB")


def main():
    check({"photo_separate", "xray_separate", "xray_shared"} <= set(PROVIDED), f"there are {sorted(PROVIDED)} alone")
    for name, path in PROVIDED.items():
        says_what_it_is(name, path)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        check(run("phantoms --out images --count 3 --size 64", folder).returncode == 0, "no phantoms")
        for name in PROVIDED:
            denoises(folder, name)

        listed = json.loads(run("info --json", folder).stdout)["weights"]
        check([entry["name"] for entry in listed] == sorted(PROVIDED), f"info lists {listed}")
        for entry in listed:
            check(entry["about"] == header_of(PROVIDED[entry["name"]])["__metadata__"]["tvmap.about"], f"info says {entry}")

        (folder / "picture.png").write_bytes(png(32))
        usual = run("denoise picture.png", folder)
        check(usual.returncode == 0 and (folder / "denoised" / "picture.png").is_file(), f"denoise picture.png: {usual.stderr}")
        check("photo_separate" in usual.stdout + usual.stderr, f"denoise does not say whose weights it takes: {usual.stdout}")
        named = run("denoise picture.png --weights photo_separate --out named", folder)
        check(named.returncode == 0 and "come with the program" not in named.stdout, f"--weights photo_separate: {named.stderr}")
        shutil.copy(PROVIDED["photo_separate"], folder / "mine.safetensors")
        check(run("denoise picture.png --checkpoint mine.safetensors --out mine", folder).returncode == 0, "a file as weights")

        # Trained on a GPU, in a precision that no CPU has: of use without it all the same.
        content = PROVIDED["photo_separate"].read_bytes()
        for ours, theirs in ((b"device: auto", b"device: cuda"), (b"precision: fp32", b"precision: tf32")):
            check(content.count(ours) == 1, f"{ours} is not there once")
            content = content.replace(ours, theirs)
        (folder / "foreign.safetensors").write_bytes(content)
        foreign = run("denoise picture.png --weights foreign.safetensors --device cpu --out foreign", folder)
        check(foreign.returncode == 0 and "network.precision: tf32 -> fp32" in foreign.stdout,
              f"weights that were trained in tf32 on a GPU: {foreign.stdout}{foreign.stderr}")
        elsewhere = run("denoise picture.png --weights foreign.safetensors --out elsewhere", folder)
        check(elsewhere.returncode == 0, f"weights that were trained on a GPU: {elsewhere.stderr}")
        for option in ("--set network.precision=tf32 --device cpu", "--set network.precision=int4"):
            refused(folder, 1, f"denoise picture.png --weights foreign.safetensors --out new {option}", "network.precision")

        results = [(folder / out / "picture.png").read_bytes() for out in ("denoised", "named", "mine")]
        check(results[0] == results[1] == results[2], "the same weights, and other results")

        (folder / "photo_separate").mkdir()  # a folder of this name is not what is meant
        check(run("denoise picture.png --weights photo_separate --out again", folder).returncode == 0, "beside a folder of its name")
        refused(folder, 1, "denoise picture.png --weights photos --out new", "photos", "photo_separate, xray_separate")
        refused(folder, 1, "evaluate --weights photos --out new", "photos", "photo_separate, xray_separate")
        (folder / "none").mkdir()
        nowhere = dict(os.environ, TVMAP_WEIGHTS=str(folder / "none"))
        refused(folder, 1, "denoise picture.png --out new", "no weights come with this program", env=nowhere)
        check("none come with this program" in run("info", folder, env=nowhere).stdout, "info without weights")
    finish()


if __name__ == "__main__":
    main()
