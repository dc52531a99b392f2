#!/usr/bin/env python3
"""How many threads the program works with, who said so, and what it does where the system starts no more."""
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import unittest

TVMAP = os.environ["TVMAP"]
AFFINITY = sorted(os.sched_getaffinity(0))


def info(*arguments, before=None, **environment):
    """The result of `tvmap info`, and its lines on standard error. `before` runs in the child, before the program."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_NUM", "OMP_THREAD"))}
    result = subprocess.run([TVMAP, "info", "--json", *arguments], env=clean | environment, capture_output=True, text=True,
                            preexec_fn=before, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result.stderr.splitlines()


SANITIZED = any(library in pathlib.Path(TVMAP).read_bytes() for library in (b"libasan", b"libtsan"))


class Threads(unittest.TestCase):
    def check(self, answer, threads, origin):
        self.assertEqual((answer[0]["threads"], answer[0]["threads_from"]), (threads, origin))
        self.assertEqual(answer[1], [])

    def test_environment_is_what_the_user_set(self):
        for threads in (1, 3):
            self.check(info(OMP_NUM_THREADS=str(threads)), threads, "OMP_NUM_THREADS")
            self.check(info("--threads", "2", OMP_NUM_THREADS=str(threads)), 2, "--threads")
        self.check(info(OMP_NUM_THREADS="3", OMP_THREAD_LIMIT="2"), 2, "OMP_THREAD_LIMIT")

    def test_affinity(self):
        if len(AFFINITY) < 2:
            self.skipTest("one core has no smaller affinity")
        one = {"before": lambda: os.sched_setaffinity(0, AFFINITY[:1])}
        self.check(info(**one), 1, "CPU affinity")
        self.check(info("--threads", "2", **one), 2, "--threads")
        # Binding threads to cores, which restricts the first thread's own affinity, is no wish for fewer.
        self.assertEqual(info(OMP_PROC_BIND="true")[0]["threads"], info()[0]["threads"])

    def test_threads_wait_briefly_unless_told_otherwise(self):
        def spins(**settings):
            """How often the OpenMP library's threads look before they sleep, as it says when it is loaded for the last time."""
            environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
            said = subprocess.run([TVMAP, "info"], capture_output=True, text=True, check=True,
                                  env=environment | {"OMP_DISPLAY_ENV": "verbose"} | settings).stderr
            if "_OPENMP" in said and "GOMP_SPINCOUNT" not in said:
                self.skipTest("another OpenMP library than GCC's")
            return re.findall(r"GOMP_SPINCOUNT = '(\w+)'", said)[-1]

        self.assertEqual(spins(), "5000")
        self.assertEqual(spins(GOMP_SPINCOUNT="7"), "7")
        self.assertEqual(spins(OMP_WAIT_POLICY="passive"), "0")

    def test_text_says_where_the_number_came_from(self):
        text = subprocess.run([TVMAP, "info", "--threads", "2"], capture_output=True, text=True, check=True).stdout
        self.assertRegex(text, r"\nthreads +2 \(--threads\)\n")

    @unittest.skipIf(SANITIZED, "sanitizers map more than is there")
    def test_fewer_threads_where_the_system_starts_no_more(self):
        # Stacks of a GiB: the address space takes two or three of them.
        def narrow():
            resource.setrlimit(resource.RLIMIT_STACK, (1 << 30, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_AS, (7 << 29, 7 << 29))

        answer, lines = info("--threads", "64", before=narrow)
        self.assertIn(answer["threads"], range(1, 4))
        self.assertEqual(answer["threads_from"], "as many as the system starts")
        self.assertEqual(len(lines), 1)
        self.assertIn(f"{answer['threads']} of 64 threads", lines[0])

    def test_fewer_threads_where_processes_are_few(self):
        # As nobody, who has no other process: the superuser is not counted.
        if os.getuid() != 0 or not os.access(TVMAP, os.X_OK):
            self.skipTest("only the superuser can become somebody without processes")

        def lonely():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            resource.setrlimit(resource.RLIMIT_NPROC, (4, 4))

        try:
            answer, lines = info("--threads", "4", before=lonely)
        except PermissionError:
            self.skipTest("nobody may not run the program where it lies")
        self.assertEqual((answer["threads"], answer["threads_from"]), (2, "as many as the system starts"))
        self.assertEqual(len(lines), 1)


if __name__ == "__main__":
    sys.exit(unittest.main())
