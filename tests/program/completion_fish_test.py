#!/usr/bin/env python3
"""What fish completes, by its own word (complete --do-complete). Skipped (exit 77) without fish."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, finish, run  # noqa: E402

if not shutil.which("fish"):
    print("SKIPPED: no fish")
    sys.exit(77)


def fish(folder, script):
    done = subprocess.run(["fish", "--no-config", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"})
    check(done.returncode == 0 and done.stderr == "", f"fish: {done.stderr}")
    return done.stdout.splitlines()


def offers(folder, *lines):
    """For each line what is offered, without the descriptions."""
    script = "source tvmap.fish\n" + "".join(f"complete --do-complete '{line}'; echo ----\n" for line in lines)
    groups = "\n".join(fish(folder, script)).split("----")
    return [{offer.split("\t")[0] for offer in group.strip("\n").split("\n")} - {""} for group in groups[:-1]]


with tempfile.TemporaryDirectory() as name:
    place = Path(name)
    (place / "tvmap.fish").write_text(run("completion fish", place).stdout, encoding="utf-8")
    check(subprocess.run(["fish", "-n", place / "tvmap.fish"], check=False).returncode == 0, "fish -n")
    (place / "images").mkdir()
    (place / "image.png").write_text("")
    commands = [line.split()[0] for line in run("--help", place).stdout.split("\nCommands:\n")[1].split("\n\n")[0].splitlines()
                if line.startswith("  ") and line[2] != " "]
    check(offers(place, "tvmap ") == [set(commands)], "not the commands alone are offered")
    for command, offered in zip(commands, offers(place, *(f"tvmap {command} --" for command in commands))):
        text = run([command, "--help"], place).stdout
        known = {name for row in re.findall(r"^  ((?:-[a-z0-9-]+, )*--[a-z0-9-]+)", text, re.M) for name in row.split(", ")} - {"-h"}
        check(offered == known, f"tvmap {command} --: {offered ^ known}")
    cases = {"tvmap train x --device ": {"auto", "cpu", "cuda"}, "tvmap train --device=cu": {"--device=cuda"}, "tvmap completion ": {"bash", "zsh", "fish"},
             "tvmap help ph": {"phantoms"}, "tvmap init im": {"images/"}, "tvmap train im": {"image.png", "images/"},
             "tvmap solve im": {"image.png", "images/"}, "tvmap denoise a.png im": {"image.png", "images/"}, "tvmap evaluate im": {"images/"},
             "tvmap report --out im": {"image.png", "images/"}, "tvmap phantoms im": set(), "tvmap phantoms --count im": set(),
             "tvmap train x --set network.prec": {"network.precision="}, "tvmap train x --change ": {"train.epochs", "train.time"}, "tvmap denoise x --check": {"--checkpoint"},
             "tvmap denoise x --checkpoint im": {"image.png", "images/"},
             "tvmap train x --set network.precision=b": {"network.precision=bf16"}, "tvmap solve x --norm ": {"auto"},
             "tvmap report train --mark": {"--markdown"}, "tvmap report train --set": set()}
    for (line, expected), offered in zip(cases.items(), offers(place, *cases)):
        check(offered == expected, f"{line!r}: {offered}, not {expected}")
finish()
