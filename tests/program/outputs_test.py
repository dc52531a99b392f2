#!/usr/bin/env python3
"""All that can be known of an output is asked before the work, in every command: its name, its ending, its size, what
stands there already, permission, room. The work asked for here would take hours, or is shown not to have begun."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, finish, npy, png, program, refused, run, skipped, tiny_experiment  # noqa: E402

hours = "--lambda 0.1 --iterations 2000000000"
solve = f"solve image.npy {hours} --out x.npy"
gradient = "gradient image.npy --lambda 0.1 --target image.npy --iterations 8"  # more steps would need too much memory
long = "n" * 250  # a name that the file system takes (255 bytes), but not with every ending
last = "run/checkpoints/last.safetensors"


def prepare(folder):
    (folder / "image.npy").write_bytes(npy([0.1 * (i % 7) for i in range(12 * 16)], (12, 16)))
    (folder / "stack.npy").write_bytes(npy([0.1] * 384, (2, 12, 16)))
    (folder / "picture.png").write_bytes(png(32))
    (folder / f"{long}.png").write_bytes(png(32))
    (folder / "tiny.yaml").write_bytes(tiny_experiment)
    for name in ("images", "long"):
        (folder / name).mkdir()
    for name in ("a", "b"):
        (folder / f"images/{name}.png").write_bytes(png(32))
    (folder / f"long/{'m' * 245}.png").write_bytes(png(32))
    result = run("train tiny.yaml --run run --quiet", folder)
    check(result.returncode == 0, f"train: {result}")


def stopped(folder, arguments, *parts, code=1, **how):
    refused(folder, code, arguments, *parts, **{"timeout": 30, **how})


def names(folder):
    """Names that are too long, or none at all."""
    for path in (f"{long}.safetensors.npy", f"new/{long}.safetensors.npy", f"{'o' * 256}/x.npy", "/".join(["p" * 200] * 25) + ".npy"):
        stopped(folder, f"solve image.npy {hours} --out {path}", "cannot write", "choose a shorter name")
    for option in ("--trace", "--state-out"):
        stopped(folder, f"{solve} {option} {long}.longer", "cannot write", "choose a shorter name")
        stopped(folder, [*solve.split(), option, "new/"], "a file without a name")
    stopped(folder, f"{gradient} --out d.npy --out-z {long}-z.npy", "choose a shorter name")
    stopped(folder, ["search", "image.npy", "--clean", "image.npy", "--iterations", "2000000000", "--out", f"{long}.longer"],
            "choose a shorter name")
    stopped(folder, "evaluate run --set data.test=long --out new", "_scalar.png", "choose a shorter name")
    stopped(folder, f"train tiny.yaml --run {'o' * 256}", "too long")
    stopped(folder, f"phantoms --count 100000 --out {'o' * 256}", "choose a shorter name")
    # Results of one picture appear together or not at all, and before the first picture is worked on.
    stopped(folder, f"denoise picture.png {long}.png --checkpoint {last} --map --out new", f"{long}_lambda.npy", "choose a shorter name")


def kinds(folder):
    """Things that are no files, and endings that say another kind."""
    for path in ("images", "/dev/null", "picture.png/x.npy"):
        stopped(folder, f"{solve} --state-out {path}", path)
        stopped(folder, f"{solve} --trace {path}", path)
        stopped(folder, f"search image.npy --clean image.npy --iterations 2000000000 --out {path}", path)
    (folder / "device.npy").symlink_to("/dev/null")
    stopped(folder, f"solve image.npy {hours} --out device.npy", "device.npy", "a device or pipe")
    stopped(folder, f"{gradient} --out device.npy", "device.npy", "a device or pipe")
    stopped(folder, f"solve image.npy {hours} --out x.jpg", ".npy, .png or .tif", code=2)
    stopped(folder, f"solve stack.npy {hours} --out x.tif", "2 images", code=2)
    stopped(folder, f"solve stack.npy {hours} --out x.png", "2 images", code=2)
    stopped(folder, f"{gradient} --out d.npy --out-z z.png", ".npy", code=2)
    (folder / "taken/picture_lambda.png").mkdir(parents=True)
    (folder / "taken/phantom_00007.png").mkdir()
    stopped(folder, f"denoise picture.png --checkpoint {last} --map --out taken", "picture_lambda.png", "it is a folder")
    stopped(folder, "phantoms --count 100 --size 1024 --out taken", "phantom_00007.png", "it is a folder")
    for path in ("images/a_error.npy", "summary.csv", "run/checkpoints/best.safetensors", "run/metrics.csv"):
        (folder / "taken" / path).mkdir(parents=True)
        if path.startswith("run"):
            stopped(folder, "train tiny.yaml --set train.epochs=1000000 --run taken/run", path, "it is a folder")
        else:
            stopped(folder, "evaluate run --out taken", path, "it is a folder")
        (folder / "taken" / path).rmdir()
    # A picture of Λ has more pixels than a PNG can hold.
    stopped(folder, "evaluate run --set data.size=20480 --out new", "too many for one PNG")


def same_names(folder):
    stopped(folder, f"{solve} --state-out ./x.npy", "x.npy is the same file")
    stopped(folder, f"{solve} --trace {folder}/x.npy", "x.npy is the same file")
    stopped(folder, f"{gradient} --out d.npy --out-z ./d.npy", "d.npy is the same file")
    (folder / "link.npy").symlink_to("x.npy")
    (folder / "x.npy").write_bytes(b"kept")
    stopped(folder, f"{solve} --state-out link.npy", "x.npy is the same file")
    (folder / "x.npy").unlink()


def inputs_are_kept(folder):
    """What is read is not written over, by whatever name."""
    (folder / "other.npy").symlink_to("image.npy")
    said = "is read, and would be lost"
    stopped(folder, f"solve image.npy {hours} --out ./image.npy", said)
    stopped(folder, f"{solve} --trace other.npy", said)
    stopped(folder, f"{gradient} --out d.npy --out-z image.npy", said)
    stopped(folder, "search image.npy --clean image.npy --iterations 2000000000 --out other.npy", said)
    (folder / "other.npy").unlink()
    result = run("solve image.npy --lambda 0.1 --iterations 8 --out y.npy --state-out s.safetensors", folder)
    check(result.returncode == 0, f"{result}")
    result = run("solve image.npy --lambda 0.1 --iterations 8 --out y.npy --state-in s.safetensors --state-out s.safetensors", folder)
    check(result.returncode == 0, f"a state is gone on with: {result}")
    for name in ("y.npy", "s.safetensors"):
        (folder / name).unlink()


def permission(folder):
    """As nobody, whom neither root's rights nor a sticky folder help; a link leads to where the file would be written."""
    if os.geteuid() != 0:
        skipped.append("permissions of another user (not root)")
        return
    (folder / "locked").mkdir(mode=0o755)
    (folder / "sticky").mkdir()
    (folder / "sticky").chmod(0o1777)
    (folder / "sticky/x.npy").write_bytes(b"root's")
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    (folder / "locked/there.npy").write_bytes(b"root's")
    (folder / "open/link.npy").symlink_to(folder / "locked/there.npy")
    parent = folder
    while parent != parent.parent:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o005)
        parent = parent.parent
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    for path, part in (("locked/x.npy", "locked"), ("locked/new/x.npy", "locked"), ("sticky/x.npy", "another user"),
                       ("open/link.npy", "open/link.npy")):
        try:
            stopped(folder, f"solve image.npy {hours} --out {path}", path, part, **nobody)
            stopped(folder, f"solve image.npy {hours} --out open/x.npy --trace {path}", path, part, **nobody)
        except PermissionError:
            skipped.append("permissions of another user (the program cannot be run as nobody)")
            return


def room(folder):
    """A small disk in memory, and a file that is mounted by itself, seen by this process alone."""
    values = 200 * 200
    (folder / "large.npy").write_bytes(npy([0.5] * values, (200, 200)))
    script = """mkdir -p disk && mount -t tmpfs -o size=256k none disk && touch disk/mounted.npy other \\
        && mount --bind other disk/mounted.npy || exit 77
        "$@"; code=$?; find disk -type f | sort > left.txt; exit $code"""
    large = f"solve large.npy {hours}"
    large_gradient = "gradient large.npy --lambda 0.1 --lambda-y 0.1 --target large.npy --iterations 8"
    cases = [  # (arguments, what is said); an array takes 160 kB, a state 800 kB
        (f"{large} --out x.npy --state-out disk/s.safetensors", ("disk/s.safetensors", "800000 bytes at least")),
        (f"{large} --out disk/x.npy --state-out disk/new/s.safetensors", ("disk/new/s.safetensors", "left for it")),
        (f"{large_gradient} --out x.npy --out-z disk/z.npy", ()),
        (f"{large_gradient} --out disk/x.npy --out-z disk/z.npy", ("disk/", "left for it")),
        (f"{large} --out disk/mounted.npy", ("disk/mounted.npy", "mounted by itself")),
    ]
    for arguments, parts in cases:
        command = arguments.split()
        for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
            (folder / "left.txt").unlink(missing_ok=True)
            try:
                result = subprocess.run([*unshare, "timeout", "20", "sh", "-c", script, "sh", program, *command], cwd=folder,
                                        capture_output=True, text=True, timeout=60)
            except FileNotFoundError:
                break
            if result.returncode not in (77, 1) or (folder / "left.txt").exists():
                break
        if not (folder / "left.txt").exists() and result.returncode != 124:
            skipped.append("room, and files that are mounted (no mount namespace may be made here)")
            return
        if not parts:
            check(result.returncode == 0, f"{arguments}: it fits, and is refused: {result}")
            continue
        check(result.returncode == 1 and all(part in result.stderr for part in parts) and result.stderr.count("\n") == 1,
              f"{arguments}: {result}")
        check(result.returncode == 124 or (folder / "left.txt").read_text() == "disk/mounted.npy\n", f"{arguments}: files are left")


with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as name:
    os.environ["XDG_CACHE_HOME"] = cache  # where measured algorithms are kept
    folder = Path(name).resolve()
    prepare(folder)
    for part in (names, kinds, same_names, inputs_are_kept, permission, room):
        part(folder)
finish()
