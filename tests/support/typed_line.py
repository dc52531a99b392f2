"""A shell at a terminal: lines are typed, with \\t for the key that completes, and run; a stand-in for the program says what it
was called with."""
import os
import pty
import select
import time

from program import check


def typed(shell, setup, folder, lines):
    """For each of `lines` its words in [], once `shell` (a list of words) has completed it. `setup` defines the stand-in tvmap,
    which prints them and `done` behind, and prints `ready` when all is set."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.update(TERM="dumb", LC_ALL="C.UTF-8", HISTFILE="/dev/null")
        os.environ.pop("INPUTRC", None)
        os.execvp(shell[0], shell)

    def until(mark):
        said = b""
        end = time.monotonic() + 30
        while mark not in said and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    said += os.read(terminal, 4096)
                except OSError:
                    break
        check(mark in said, f"{shell[0]} said {said!r} without {mark!r}")
        return said.decode().replace("\r", "\n")

    os.write(terminal, setup.encode() + b"\n")
    until(b"ready\r\n")
    became = []
    for line in lines:
        os.write(terminal, line.encode() + b"\n")
        became.append(until(b"done\r\n").split("done\n")[0].split("\n")[-1])
    os.close(terminal)
    os.waitpid(pid, 0)
    return became
