#!/usr/bin/env python3
"""What zsh completes at a terminal, where the line that was completed is run. Skipped (exit 77) without zsh."""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, finish, run  # noqa: E402
from typed_line import typed  # noqa: E402

if not shutil.which("zsh"):
    print("SKIPPED: no zsh")
    sys.exit(77)

# Completion is set up as a system does it: from a folder of functions, by compinit. (What is echoed while it is typed has
# the quotes in between.)
SETUP = ("unsetopt zle_bracketed_paste prompt_cr prompt_sp; fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u -D; "
         "tvmap() { printf '[%s]' \"$@\"; printf 'do''ne\\n'; }; PS1='> '; echo 're''ady'")

with tempfile.TemporaryDirectory() as name:
    place = Path(name)
    (place / "functions").mkdir()
    script = place / "functions/_tvmap"
    script.write_text(run("completion zsh", place).stdout, encoding="utf-8")
    done = subprocess.run(["zsh", "-f", "-n", script], capture_output=True, text=True, check=False)
    check(done.returncode == 0 and done.stderr == "", f"zsh -n: {done.stderr}")
    (place / "images").mkdir()
    (place / "image.png").write_text("")  # (zsh takes the / of a folder away again where the line ends.)
    (place / "experiment one.yaml").write_text("")
    lines = {"tvmap phan\t": "[phantoms]", "tvmap train --dev\tcu\t": "[train][--device=cuda]",
             "tvmap train --device cu\t": "[train][--device][cuda]", "tvmap info --isa avx5\t": "[info][--isa][avx512]",
             "tvmap train exp\t --pl\t": "[train][experiment one.yaml][--plan]",
             "tvmap train x --set network.prec\tbf\t": "[train][x][--set][network.precision=bf16]",
             "tvmap train x --set=map.k\tsh\t": "[train][x][--set=map.kind=shared]", "tvmap init im\t": "[init][images]",
             "tvmap gradient x --mode trun\t8": "[gradient][x][--mode][truncated:8]", "tvmap evaluate im\t": "[evaluate][images]",
             "tvmap report --out exp\t": "[report][--out][experiment one.yaml]", "tvmap completion f\t": "[completion][fish]",
             "tvmap help ph\t": "[help][phantoms]", "tvmap denoise x --check\texp\t": "[denoise][x][--checkpoint=experiment one.yaml]", "tvmap search a b exp\t": "[search][a][b][experiment one.yaml]"}
    for (line, taken), became in zip(lines.items(), typed(["zsh", "-f", "-i"], SETUP, place, lines)):
        check(became == taken, f"{line!r} became {became!r}, not {taken}")
    # And without compinit's folder: the script as it is printed.
    became = typed(["zsh", "-f", "-i"], SETUP.replace("fpath=($PWD/functions $fpath); ", "").replace("PS1=", "source functions/_tvmap; PS1="),
                   place, ["tvmap phan\t"])
    check(became == ["[phantoms]"], f"sourced: {became!r}")
finish()
