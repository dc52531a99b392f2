#!/usr/bin/env python3
"""What bash completes: by its own function, word by word, and at a terminal, where the line that was completed is run."""
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, finish, refused, run  # noqa: E402
from typed_line import typed  # noqa: E402

# (What is echoed while it is typed has the quotes in between.)
SETUP = "source ./tvmap.bash; tvmap() { printf '[%s]' \"$@\"; printf 'do''ne\\n'; }; echo 're''ady'"


def bash(script, *words, folder):
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    check(done.returncode == 0 and done.stderr == "", f"bash {words}: {done.stderr}")
    return done.stdout.splitlines()


def offers(folder, *words):
    """COMPREPLY for these words, of which the last is completed."""
    return bash('source ./tvmap.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tvmap; printf "%s\\n" "${COMPREPLY[@]}"',
                *words, folder=folder)


def words(folder):
    overview = [line.split()[0] for line in run("--help", folder).stdout.split("\nCommands:\n")[1].split("\n\n")[0].splitlines()
                if line.startswith("  ") and line[2] != " "]
    check(set(overview) < set(offers(folder, "tvmap", "")), "not every command is offered")
    check(offers(folder, "tvmap", "den") == ["denoise"], "tvmap den")
    check(offers(folder, "tvmap", "s") == ["solve", "search", "study"], "tvmap s")
    for command in overview:
        text = run([command, "--help"], folder).stdout
        known = {name for row in re.findall(r"^  ((?:-[a-z0-9-]+, )*--[a-z0-9-]+)", text, re.M) for name in row.split(", ")} - {"-h"}
        check(set(offers(folder, "tvmap", command, "-")) == known | {"-h"}, f"tvmap {command} -")
    for given, offered in (
            (["train", "c.yaml", "--device", ""], ["auto", "cpu", "cuda"]), (["info", "--isa", "avx"], ["avx512", "avx2"]),
            (["train", "c.yaml", "--device", "=", "c"], ["cpu", "cuda"]), (["completion", ""], ["bash", "zsh", "fish"]),
            (["help", "ph"], ["phantoms"]), (["denoise", "--check"], ["--checkpoint"]), (["train", "--resume", "--change", ""], ["train.epochs", "train.time"]),
            (["gradient", "z.npy", "--mode", "tr"], ["truncated:"]), (["solve", "z.npy", "--norm", ""], ["auto"]),
            (["train", "--set", "network.pr"], ["network.precision="]), (["train", "--set", "network.precision", "="], ["fp32", "tf32", "bf16"]),
            (["train", "--set", "network.precision", "=", "b"], ["bf16"]), (["train", "--set", "=", "solver.b", ], ["solver.blur.size=", "solver.blur.sigma=", "solver.boundary="]),
            (["train", "--set", "=", "solver.boundary", "=", "n"], ["neumann"]), (["denoise", "a.png", "--colour", "l"], ["luminance"]),
            (["phantoms", "--count", ""], [""]), (["bench", "file"], [""]), (["nothing", "--d"], [""]), (["train", "conf"], [""])):
        check(offers(folder, "tvmap", *given) == offered, f"tvmap {given}: {offers(folder, 'tvmap', *given)}")
    # Where = ends no word, the whole word is offered.
    done = bash('source ./tvmap.bash; COMP_WORDBREAKS=" "; COMP_WORDS=(tvmap train --set=map.kind=s); COMP_CWORD=2; _tvmap; echo "${COMPREPLY[@]}"',
                folder=folder)
    check(done == ["--set=map.kind=shared --set=map.kind=separate"], f"without = as a word's end: {done}")


def terminal(folder):
    (folder / "my images").mkdir()
    (folder / "experiment one.yaml").write_text("")
    lines = {"tvmap phan\t": "[phantoms]", "tvmap train --dev\tcu\t": "[train][--device][cuda]",
             "tvmap train --device=cu\t": "[train][--device=cuda]", "tvmap train exp\t--pl\t": "[train][experiment one.yaml][--plan]",
             "tvmap train x --set network.prec\tbf\t": "[train][x][--set][network.precision=bf16]",
             "tvmap train x --set=train.fl\tt\t": "[train][x][--set=train.flip=true]", "tvmap init my\t": "[init][my images/]",
             "tvmap denoise x --checkpoint exp\t": "[denoise][x][--checkpoint][experiment one.yaml]",
             "tvmap gradient x --mode trun\t8": "[gradient][x][--mode][truncated:8]", "tvmap evaluate exp\t": "[evaluate][exp]",
             "tvmap report --out exp\t": "[report][--out][experiment one.yaml]", "tvmap phantoms --count exp\t": "[phantoms][--count][exp]"}
    for (line, taken), became in zip(lines.items(), typed(["bash", "--norc", "--noprofile", "-i"], SETUP, folder, lines)):
        check(became == taken, f"{line!r} became {became}, not {taken}")


with tempfile.TemporaryDirectory() as name:
    place = Path(name)
    refused(place, 2, "completion", "shell")
    refused(place, 2, "completion csh", "csh")
    (place / "tvmap.bash").write_text(run("completion bash", place).stdout, encoding="utf-8")
    check(subprocess.run(["bash", "-n", place / "tvmap.bash"], check=False).returncode == 0, "bash -n")
    check(shlex.split(bash("source ./tvmap.bash; complete -p tvmap", folder=place)[0])[-1] == "tvmap", "complete -p")
    words(place)
    terminal(place)
finish()
