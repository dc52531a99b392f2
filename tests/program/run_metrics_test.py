#!/usr/bin/env python3
"""metrics.csv as a user left it: a run that is resumed keeps every row that can be read, and whatever it does not keep
as it was stands in a copy that one line on standard error and in the log names."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TVMAP = os.environ["TVMAP"]
EPOCHS = 6
CONFIG = """
data: {{train: {0}/images, val: {0}/images, size: 16, limit: {{train: 2, val: 1}}}}
network: {{channels: [2, 4]}}
solver: {{iterations: 4}}
optimiser: {{rate: 1e-6}}
train: {{epochs: {1}, validate_every: 2, checkpoint_every: 2, checkpoint_seconds: 0}}
evaluate: {{iterations: 4}}
"""


def quoted(lines):
    return ["\t".join(f'"{field}"' for field in line.split(",")) for line in lines]


def german(lines):
    """As a spreadsheet with a decimal comma saves it."""
    return [";".join(field.replace(".", ",") for field in line.split(",")) for line in lines]


def decimal_comma_in_quotes(lines):
    return [",".join(f'"{field.replace(".", ",")}"' for field in line.split(",")) for line in lines]


def other_columns(lines):
    """A column of remarks in front, one moved to the end, and empty cells below."""
    moved = [[f"remark, {i}", *fields[:2], *fields[3:], fields[2]] for i, fields in enumerate(line.split(",") for line in lines)]
    return [",".join(f'"{field}"' if " " in field else field for field in fields) for fields in moved] + [",,,,,,,,"]


# (what was done to the file, the new bytes from its lines, epochs whose rows cannot be read, part of the note)
CHANGES = [
    ("CRLF", lambda lines: "\r\n".join(lines) + "\r\n", [], "6 rows are kept"),
    ("no last line end", "\n".join, [], "6 rows are kept"),
    ("quotes and tabs", lambda lines: "\n".join(quoted(lines)) + "\n", [], "6 rows are kept"),
    ("semicolons and decimal commas", lambda lines: "\r\n".join(german(lines)) + "\r\n", [], "6 rows are kept"),
    ("decimal commas in quotes", lambda lines: "\ufeff" + "\n".join(decimal_comma_in_quotes(lines)), [], "6 rows are kept"),
    ("sorted", lambda lines: "\n".join([lines[0], *sorted(lines[1:], reverse=True)]) + "\n", [], "6 rows are kept"),
    ("no header", lambda lines: "\n".join(lines[1:]) + "\n", [], "6 rows are kept"),
    ("other columns", lambda lines: "\n".join(other_columns(lines)) + "\n", [], "6 rows are kept"),
    ("an odd line", lambda lines: "\n".join([*lines[:3], "# here I changed the room's light", *lines[3:]]) + "\n", [],
     "line 4 is no row"),
    ("a row twice", lambda lines: "\n".join([*lines[:3], lines[2], *lines[3:]]) + "\n", [], "line 4 is no row"),
    ("a remark", lambda lines: "\n".join([*lines[:3], lines[3] + ",the best so far", *lines[4:]]) + "\n", [], "6 rows are kept"),
    ("a row cut short", lambda lines: "\n".join([*lines[:2], lines[2][:9], *lines[3:]]) + "\n", [2], "line 3 is no row"),
    ("dates", lambda lines: "\n".join(line.replace("1,2,", "1,02. Jan,").replace("3,6,", "3,06. Mar,") for line in lines) + "\n",
     [1, 3], "lines 2, 4 are no rows"),
    ("one line's end lost", lambda lines: "\n".join([*lines[:2], lines[2] + lines[3], *lines[4:]]) + "\n", [2, 3],
     "line 3 is no row"),
    ("something else", lambda lines: "PK\x03\x04\x00\x00", [1, 2, 3, 4, 5, 6], "0 rows are kept"),
]


class Run:
    def __init__(self, folder):
        self.folder = folder
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
        subprocess.run([TVMAP, "phantoms", "--out", folder / "images", "--count", "2", "--size", "16", "--seed", "1",
                        "--quiet"], check=True)
        (folder / "config.yaml").write_text(CONFIG.format(folder, EPOCHS))
        self(folder / "original")

    def __call__(self, run, *arguments):
        """Trains; what was said on standard error."""
        done = subprocess.run([TVMAP, "train", self.folder / "config.yaml", "--run", run, "--threads", "1", "--quiet",
                               *arguments], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done
        return done.stderr

    def copy(self, name):
        return pathlib.Path(shutil.copytree(self.folder / "original", self.folder / name))


def others(run):
    return sorted(path.name for path in run.iterdir() if path.name.startswith("metrics") and path.name != "metrics.csv")


def check_note(run, said, part, copy="metrics.1.csv"):
    assert said.count("\n") == 1 and part in said and copy in said, said
    assert said.split("warning: ", 1)[1] in (run / "log.txt").read_text(), said


def main():
    with tempfile.TemporaryDirectory() as name:
        train = Run(pathlib.Path(name))
        original = (train.folder / "original" / "metrics.csv").read_bytes()
        lines = original.decode().splitlines()
        assert len(lines) == EPOCHS + 1
        for what, change, lost, part in CHANGES:
            run = train.copy(what)
            changed = change(lines).encode()
            assert changed != original, what
            (run / "metrics.csv").write_bytes(changed)
            said = train(run, "--resume")
            kept = [line for line in lines if not any(line.startswith(f"{epoch},") for epoch in lost)]
            assert (run / "metrics.csv").read_text().splitlines() == kept, (what, (run / "metrics.csv").read_text())
            assert (run / "metrics.1.csv").read_bytes() == changed, what
            check_note(run, said, part)
            # What is as it should be is left alone.
            before = (run / "metrics.csv").stat().st_mtime_ns
            assert train(run, "--resume") == "" and others(run) == ["metrics.1.csv"], what
            assert (run / "metrics.csv").stat().st_mtime_ns == before, what

        # Rows that a crash explains are computed again: train.checkpoint_every of them, and before these as many as begin and
        # end within twice train.checkpoint_seconds. More are worth a copy.
        for rows, seconds, each, copies in ((1, 0, 1, []), (2, 0, 1, []), (3, 0, 1, ["metrics.1.csv"]), (5, 2, 1, []),
                                            (6, 2, 1, ["metrics.1.csv"]), (5, 2, 1.5, ["metrics.1.csv"])):
            run = train.copy(f"{rows} rows of {each} s too many, {seconds} s")
            later = [f"{EPOCHS + 1 + i},{2 * (EPOCHS + 1 + i)},{line.split(',', 2)[2].rpartition(',')[0]},{each:.3f}"
                     for i, line in enumerate(lines[1:rows + 1])]
            (run / "metrics.csv").write_text("\n".join([*lines, *later]) + "\n")
            said = train(run, "--resume", "--set", f"train.checkpoint_seconds={seconds}")
            assert (run / "metrics.csv").read_bytes() == original and others(run) == copies, (rows, others(run))
            if copies:
                check_note(run, said, f"{rows} after epoch {EPOCHS} will be computed again")
        # A second copy does not take the first one's place, and a file of no run is nobody's to drop.
        run = train.copy("two copies")
        (run / "metrics.1.csv").write_text("mine")
        (run / "metrics.csv").write_text("\r\n".join(lines))
        check_note(run, train(run, "--resume"), "6 rows are kept", "metrics.2.csv")
        assert (run / "metrics.1.csv").read_text() == "mine"
        run = train.folder / "new"
        run.mkdir()
        (run / "metrics.csv").write_text("\n".join(lines[:2]) + "\n")
        check_note(run, train(run), "1 after epoch 0 will be computed again")
        assert (run / "metrics.1.csv").read_text() == "\n".join(lines[:2]) + "\n"
        assert len((run / "metrics.csv").read_text().splitlines()) == EPOCHS + 1


if __name__ == "__main__":
    sys.exit(main())
