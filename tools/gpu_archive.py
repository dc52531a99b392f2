"""What tools/gpu-check carries from one machine to the next: its result folder as files of at most 16 MB, from which another
machine goes on, and pictures that came as one packed file.

    OUT.tar.gz             records, logs, table, evaluation, choices of algorithms, and the runs but for their checkpoints
    OUT.tar.gz.DIGEST.1…   the checkpoints in parts; OUT.tar.gz says which parts belong to it

At any moment, even a call's last, there is one whole archive: parts of another content have other names, and those of
before go only when the new OUT.tar.gz is in place."""
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import struct
import tarfile
import tempfile
import zlib

PART = 16_000_000  # bytes; machines lent for a moment often give back files of 16 MiB and no larger ones
MANIFEST = "checkpoints.json"
# Left out until OUT.tar.gz is small enough.
SPARED = ((), (".png",), (".png", ".txt"))


class ArchiveError(Exception):
    """One line: what is wrong with which file."""


def without_moments(checkpoint):
    """A checkpoint's weights and words without the optimiser's moments (two thirds of its bytes): to evaluate, not to train."""
    start = 8 + struct.unpack_from("<Q", checkpoint)[0]
    kept, data = {}, b""
    entries = json.loads(checkpoint[8:start])
    if "__metadata__" in entries:
        kept["__metadata__"] = entries.pop("__metadata__")
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        if not name.startswith("optimiser."):
            begin, end = entry["data_offsets"]
            kept[name] = entry | {"data_offsets": [len(data), len(data) + end - begin]}
            data += checkpoint[start + begin:start + end]
    header = json.dumps(kept).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def checkpoints(run):
    """(file, whether with moments): what goes on from `last` and what is evaluated, `best`. `last` comes first: a `best` that
    is newer than `last` is only found again, one that is older would be lost."""
    last, best = (run / "checkpoints" / f"{name}.safetensors" for name in ("last", "best"))
    trained = (run / "trained").exists() and best.exists()
    return [(file, file == last) for file in (last, best) if file.exists() and not (trained and file == last)]


def add(tar, name, content):
    entry = tarfile.TarInfo(str(name))
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


class Archive:
    """Of the folder `out`, in the file `path` and its parts; of its runs, those whose names end with `key`."""
    def __init__(self, out, path, key):
        self.out, self.path, self.key = out, path, key
        self.state, self.manifest = None, None  # of the checkpoints, as last written

    def write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.write_checkpoints()
        for spared in SPARED:
            content = self.small(spared)
            if len(content) <= PART:
                break
        replace(self.path, content)
        for part in self.path.parent.glob(f"{self.path.name}.*"):
            if re.fullmatch(r"[0-9a-f]{12}\.\d+", suffix := part.name[len(self.path.name) + 1:]) and \
                    suffix not in self.manifest["parts"]:
                part.unlink()

    def write_checkpoints(self):
        found = [entry for run in sorted((self.out / "runs").glob(f"*{self.key}")) for entry in checkpoints(run)]
        state = [(file, whole, file.stat().st_mtime_ns, file.stat().st_size) for file, whole in found]
        if state == self.state:
            return
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for file, whole in found:
                content = file.read_bytes()
                add(tar, file.relative_to(self.out), content if whole else without_moments(content))
        content = packed.getvalue() if found else b""
        digest = hashlib.sha256(content).hexdigest()
        names = [f"{digest[:12]}.{number + 1}" for number in range(-(-len(content) // PART))]
        for number, name in enumerate(names):
            replace(self.path.with_name(f"{self.path.name}.{name}"), content[number * PART:(number + 1) * PART])
        self.state, self.manifest = state, {"sha256": digest, "parts": names}

    def small(self, spared):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as tar:
            add(tar, MANIFEST, json.dumps(self.manifest).encode())
            for folder, inner, files in os.walk(self.out):
                place = pathlib.Path(folder)
                inner[:] = sorted(name for name in inner if name != "checkpoints" and place / name != self.out / "work"
                                  and (place != self.out / "runs" or name.endswith(self.key)))
                for name in sorted(files):
                    if name.startswith(".") or name.endswith(spared) or name == MANIFEST:
                        continue
                    try:
                        add(tar, (place / name).relative_to(self.out), (place / name).read_bytes())
                    except FileNotFoundError:
                        pass  # a run or a test has removed a file of its own
        return packed.getvalue()


def replace(path, content):
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def restore(path, out):
    """Makes the folder `out`, which must not hold anything, of an archive. Throws ArchiveError; nothing is left then."""
    if out.exists() and any(out.iterdir()):
        raise ArchiveError(f"{out} holds something already: name a new folder by --out, or go on there without --from")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        folder = pathlib.Path(scratch) / "out"
        unpack(path, folder)
        if not (folder / MANIFEST).is_file():
            raise ArchiveError(f"{path} is no archive of tools/gpu-check")
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        parts = [path.with_name(f"{path.name}.{name}") for name in manifest["parts"]]
        if missing := [part.name for part in parts if not part.is_file()]:
            raise ArchiveError(f"{path}: {', '.join(missing)} must lie beside it")
        content = b"".join(part.read_bytes() for part in parts)
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            raise ArchiveError(f"{path}: its parts {', '.join(part.name for part in parts)} are not whole: get them again")
        if parts:
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                extract(tar, folder)
        (folder / MANIFEST).unlink()
        if out.exists():
            out.rmdir()
        folder.rename(out)


def unpack(path, folder):
    try:
        with tarfile.open(path) as tar:
            extract(tar, folder)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ArchiveError(f"{path} cannot be unpacked: {error}") from None


def extract(tar, folder):
    folder.mkdir(exist_ok=True)
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # (Python 3.12, and 3.10 and 3.11 in their last versions)
    tar.extractall(folder, **safe)


def pictures(path, folder):
    """`folder` becomes the folder with train, val and test that `path` is, or that lies in the tar file `path`, at its top or
    in its only folder. Throws ArchiveError."""
    unpacked = folder.with_name(f"{folder.name}-unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)
    folder.unlink(missing_ok=True)
    if path.is_dir():
        places = [path]
    else:
        unpack(path, unpacked)
        places = [unpacked, *(inner for inner in sorted(unpacked.iterdir()) if inner.is_dir())]
    parts = ("train", "val", "test")
    source = next((place for place in places if all((place / part).is_dir() for part in parts)), None)
    if source is None:
        missing = [part for part in parts if not (places[0] / part).is_dir()]
        raise ArchiveError(f"--data {path}: it has no folder {', '.join(missing)}")
    folder.symlink_to(source.resolve())
