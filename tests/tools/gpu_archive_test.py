#!/usr/bin/env python3
"""What tools/gpu-check carries from machine to machine: parts, and archives and packed pictures that are not whole.

TVMAP_SOURCE: the source folder."""
import os
import pathlib
import sys
import tarfile
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["TVMAP_SOURCE"]).resolve()
sys.dont_write_bytecode = True
sys.path.insert(0, str(SOURCE / "tools"))
import gpu_archive  # noqa: E402

class Archives(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def archive(self):
        (self.folder / "out/stages").mkdir(parents=True)
        (self.folder / "out/stages/tests.json").write_text("{}")
        checkpoints = self.folder / "out/runs/one-0123/checkpoints"
        checkpoints.mkdir(parents=True)
        checkpoints.joinpath("last.safetensors").write_bytes(os.urandom(1000))
        self.addCleanup(setattr, gpu_archive, "PART", gpu_archive.PART)
        gpu_archive.PART = 5000
        archive = gpu_archive.Archive(self.folder / "out", self.folder / "there.tar.gz", "0123")
        archive.write()
        return archive

    def test_parts(self):
        archive = self.archive()
        parts = sorted(self.folder.glob("there.tar.gz.*"))
        self.assertEqual([part.stat().st_size for part in parts], [5000, 5000, 240])
        archive.write()
        self.assertEqual(sorted(self.folder.glob("there.tar.gz.*")), parts)
        gpu_archive.restore(archive.path, self.folder / "restored")
        last = "runs/one-0123/checkpoints/last.safetensors"
        self.assertEqual((self.folder / "restored" / last).read_bytes(), (self.folder / "out" / last).read_bytes())
        self.assertTrue((self.folder / "restored/stages/tests.json").exists())
        # A newer checkpoint has parts of its own; those of before go.
        (self.folder / "out" / last).write_bytes(os.urandom(1001))
        archive.write()
        self.assertEqual(len(list(self.folder.glob("there.tar.gz.*"))), 3)
        self.assertFalse(set(parts) & set(self.folder.glob("there.tar.gz.*")))

    def test_what_is_no_archive(self):
        archive = self.archive()
        parts = sorted(self.folder.glob("there.tar.gz.*"))

        def refused(words, path=archive.path, out=self.folder / "restored"):
            with self.assertRaisesRegex(gpu_archive.ArchiveError, words):
                gpu_archive.restore(path, out)
            self.assertFalse((self.folder / "restored").exists())
        refused("holds something already", out=self.folder / "out")
        content = parts[0].read_bytes()
        parts[0].write_bytes(content[:-1])
        refused("are not whole")
        parts[0].unlink()
        refused(f"{parts[0].name} must lie beside it")
        whole = archive.path.read_bytes()
        for content, words in ((whole[:-30], "cannot be unpacked"), (b"words", "cannot be unpacked")):
            (self.folder / "broken").write_bytes(content)
            refused(words, self.folder / "broken")
        with tarfile.open(self.folder / "other.tar", "w") as other:
            other.add(self.folder / "out", "out")
        refused("is no archive of tools/gpu-check", self.folder / "other.tar")
        self.assertEqual([path.name for path in self.folder.glob(".*")], [])

    def test_packed_pictures(self):
        for part in ("train", "val", "test"):
            (self.folder / "pictures" / part).mkdir(parents=True)
        for top in ("pictures", "."):
            with tarfile.open(self.folder / "pictures.tar", "w") as tar:
                tar.add(self.folder / "pictures", top)
            for data in (self.folder / "pictures", self.folder / "pictures.tar"):
                gpu_archive.pictures(data, self.folder / "data")
                self.assertTrue((self.folder / "data/val").is_dir())
        with tarfile.open(self.folder / "half.tar", "w") as tar:
            tar.add(self.folder / "pictures/train", "train")
        with self.assertRaisesRegex(gpu_archive.ArchiveError, "has no folder val, test"):
            gpu_archive.pictures(self.folder / "half.tar", self.folder / "data")


if __name__ == "__main__":
    unittest.main(verbosity=2)
