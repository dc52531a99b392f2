#!/usr/bin/env python3
"""Rules that no compiler checks, on the sources of kernels/, engine/ and apps/:
- Highway may touch 8 bytes wherever it loads or stores the bits of a mask, so it is given arrays of 8 bytes and
  nothing else;
- no pointer is promised to be alone (restrict), since rows are their own neighbours at the borders of small images;
- what counts memory stays in 64 bits: no cast of floats, bytes or pixels to int (implicit ones: -Wconversion).
Each rule is seen to catch a violation first."""
import os
import pathlib
import re
import sys

RESTRICT = re.compile(r"\b(HWY_RESTRICT|__restrict(__)?|restrict)\b")
MASK_CALL = re.compile(r"\b(LoadMaskBits|StoreMaskBits)\s*\(((?:[^()]|\([^()]*\))*)\)")
CAST = re.compile(r"(?<![\w:])(?:int|unsigned)\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)")
COUNTS = re.compile(r"\b(floats|bytes|pixels|values|\w+_bytes|\w+_floats|image_size|map_size|state_)\b|\.size\b(?!\()")

ALONE = {"machine_peak.cu": "three arrays of its own"}
BOUNDED = {
    "int(first_level_cache / (at.floats * std::ptrdiff_t(sizeof(float))))": "at most the cache's floats",
    "int(std::min(1e9, piece_of_work(backend_) / pixels))": "bounded on the spot",
    "int(gpu::blocks_for(plane_floats(shape), piece_floats))": "blocks_for refuses more",
    "int(how.shared_bytes)": "at most what a block can have",
    "unsigned(bytes >> 8 * (selector >> 4 * i & 7) & 0xff)": "one byte",
}


def without_comments(text):
    """The same lines, comments and contents of strings blanked."""
    def blank(match):
        found = match[0]
        return '""' if found.startswith('"') else re.sub(r"[^\n]", " ", found)
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.DOTALL)


def violations(name, text):
    code = without_comments(text)
    def at(match, what):
        return f"{name}:{code.count(chr(10), 0, match.start()) + 1}: {' '.join(match[0].split())}: {what}"
    found = []
    if pathlib.Path(name).name not in ALONE:
        found += [at(m, "drop it, or show that nothing else points there") for m in RESTRICT.finditer(code)]
    for match in MASK_CALL.finditer(code):
        argument = match[2].rsplit(",", 1)[-1].strip()
        before = code[:match.start()].splitlines()[-8:]
        if not any(re.search(rf"std::uint8_t {re.escape(argument)}\[8\]", line) for line in before):
            found.append(at(match, "give it an array of 8 bytes declared just before"))
    for match in CAST.finditer(code):
        if COUNTS.search(match[1]) and " ".join(match[0].split()) not in BOUNDED:
            found.append(at(match, "count in std::int64_t or std::size_t"))
    return found


for planted in ("float* HWY_RESTRICT x = row;", "void f(const float* __restrict__ x);",
                "hn::StoreMaskBits(d, mask, bytes + lane / 8);", "const M m = hn::LoadMaskBits(d, masks);",
                "dense_features(1, 1, 1, int(floats), 1)", "int(bytes / sizeof(float))", "int(state_ / alignment)",
                "const int size = int(parameters()[p].size);", "unsigned(x.shape.image_size())"):
    if not violations("planted.cpp", planted):
        sys.exit(f"FAILED: nothing is found wrong with '{planted}'")
for innocent in ("std::uint8_t bits[8] = {};\nhn::StoreMaskBits(d, mask, bits);", "int(names.size())", "uint(bytes)",
                 "// int(bytes) restrict", "std::int64_t(bytes)", 'fail("int(bytes)")'):
    if violations("planted.cpp", innocent):
        sys.exit(f"FAILED: '{innocent}' is called wrong: {violations('planted.cpp', innocent)}")

source = pathlib.Path(os.environ["TVMAP_SOURCE"])
files = sorted(f for folder in ("kernels", "engine", "apps") for f in (source / folder).rglob("*")
               if f.suffix in {".h", ".cpp", ".cu"})
if len(files) < 100:
    sys.exit(f"FAILED: only {len(files)} sources below {source}")
found = [line for file in files for line in violations(str(file.relative_to(source)), file.read_text())]
print("\n".join(found) or f"{len(files)} sources, no violation")
sys.exit(bool(found))
