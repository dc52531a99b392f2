#!/usr/bin/env python3
"""Writes the small pictures and arrays of tests/fixtures/image with Pillow and NumPy.

Every picture NAME has NAME.npy beside it: what Pillow reads, as H×W(×3) float32 in [0, 1]. resize_*.npy are
Pillow's own bicubic resizings of resize.npy in its floating-point mode, which rounds nothing in between.
Usage: tools/make_image_fixtures.py            (needs python3-pil, python3-numpy)
"""
import pathlib

import numpy as np
from PIL import Image

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "image"


def save(name, values):
    np.save(OUT / f"{name}.npy", np.ascontiguousarray(values, dtype="float32"))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    height, width = 19, 13
    rows, columns = np.mgrid[0:height, 0:width]

    grey = random.integers(0, 256, (height, width), dtype=np.uint8)
    rgb = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    alpha = random.integers(0, 256, (height, width, 1), dtype=np.uint8)
    deep = random.integers(0, 65536, (height, width), dtype=np.uint16)
    for name, pixels, kept in (
        ("grey.png", grey, grey),
        ("rgb.png", rgb, rgb),
        ("rgba.png", np.concatenate([rgb, alpha], axis=2), rgb),
        ("grey_alpha.png", np.concatenate([grey[..., None], alpha], axis=2), grey),
        ("rgb.bmp", rgb, rgb),
        ("rgb.tga", rgb, rgb),
        ("grey.pgm", grey, grey),
        ("rgb.ppm", rgb, rgb),
    ):
        mode = "LA" if name.startswith("grey_alpha") else None
        Image.fromarray(pixels, mode).save(OUT / name)
        save(name, kept / 255.0)
    Image.fromarray(deep).save(OUT / "deep.png")
    save("deep.png", deep / 65535.0)
    palette = Image.fromarray(rgb).quantize(17)
    palette.save(OUT / "palette.png")
    save("palette.png", np.asarray(palette.convert("RGB")) / 255.0)
    ten_bits = (deep >> 6).astype(">u2")
    (OUT / "ten_bits.pgm").write_bytes(b"P5 # ten bits\n%d %d\n1023\n" % (width, height) + ten_bits.tobytes())
    save("ten_bits.pgm", (deep >> 6) / 1023.0)

    # JPEG of something smooth, as JPEG expects; 4:4:4, since decoders differ in how they interpolate chroma.
    smooth = 120 + 80 * np.sin(rows / 5.0) * np.cos(columns / 4.0)
    colour = np.stack([smooth, 255 - smooth, 60 + 5.0 * columns], axis=2)
    for name, pixels, options in (
        ("grey.jpeg", smooth, {}),
        ("colour.jpg", colour, {"subsampling": 0}),
        ("progressive.jpg", colour, {"subsampling": 0, "progressive": True}),
    ):
        Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(OUT / name, quality=90, **options)
        save(name, np.asarray(Image.open(OUT / name)) / 255.0)

    source = random.random((29, 37), dtype=np.float32)
    save("resize", source)
    for new_height, new_width in ((11, 17), (64, 50), (7, 80), (29, 12), (41, 37), (1, 1)):
        resized = Image.fromarray(source).resize((new_width, new_height), Image.Resampling.BICUBIC)
        save(f"resize_{new_height}x{new_width}", np.asarray(resized))


if __name__ == "__main__":
    main()
