#!/usr/bin/env python3
"""Writes the small TIFF and DICOM files of tests/fixtures/formats by libtiff's own tools, ImageMagick and DCMTK's, and the
values that they stand for by NumPy: H×W(×3) float32, as NAME.npy or, where files hold the same, under a name that
tests/files/tiff_test.cpp or dicom_test.cpp says.
Usage: tools/make_format_fixtures.py            (needs python3-numpy, libtiff-tools, imagemagick, dcmtk)
"""
import pathlib
import subprocess
import tempfile

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "formats"
HEIGHT, WIDTH = 19, 13


def run(*command):
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def save(name, values):
    np.save(OUT / f"{name}.npy", np.ascontiguousarray(values, dtype="float32"))


def tiff(scratch):
    random = np.random.default_rng(11)
    white = {np.dtype(kind): 2.0 ** (8 * np.dtype(kind).itemsize) - 1 for kind in ("u1", "u2", "u4")}
    arrays = {"grey8": random.integers(0, 256, (HEIGHT, WIDTH)).astype("u1"),
              "grey16": random.integers(0, 65536, (HEIGHT, WIDTH)).astype("u2"),
              "grey32": random.integers(0, 2**32, (HEIGHT, WIDTH)).astype("u4"),
              "signed16": random.integers(-32768, 32768, (HEIGHT, WIDTH)).astype("i2"),
              "float32": random.normal(0.5, 1, (HEIGHT, WIDTH)).astype("f4"),
              "float64": random.normal(0.5, 1, (HEIGHT, WIDTH)).astype("f8"),
              "rgb8": random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype("u1"),
              "rgb16": random.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype("u2")}
    kinds = {"u1": "byte", "u2": "short", "u4": "long", "i2": "sshort", "f4": "float", "f8": "double"}
    for name, values in arrays.items():
        (scratch / "raw").write_bytes(values.tobytes())
        bands = ("-b", 3, "-p", "rgb") if values.ndim == 3 else ()
        run("raw2tiff", "-w", WIDTH, "-l", HEIGHT, "-d", kinds[values.dtype.str[1:]], *bands, "-c", "none",
            "-L" if name == "grey8" else "-M", scratch / "raw", OUT / f"{name}.tif")  # -L: each byte's lowest bit first
        save(name, values / white.get(values.dtype, 1.0))

    def copy(name, source, *options):
        run("tiffcp", *options, *(OUT / f"{s}.tif" for s in source.split()), OUT / f"{name}.tif")

    copy("grey16_lzw_big_endian", "grey16", "-B", "-c", "lzw:2")
    copy("grey16_tiles", "grey16", "-t", "-w", 16, "-l", 16, "-c", "zip")
    copy("grey16_bigtiff", "grey16", "-8", "-c", "packbits")
    copy("float32_predictor", "float32", "-c", "zip:3", "-r", 4)
    copy("rgb8_planes", "rgb8", "-p", "separate", "-c", "zip")
    copy("rgb8_planes_tiles", "rgb8", "-p", "separate", "-t", "-w", 16, "-l", 16)
    copy("pages", "grey16 grey8 rgb8")
    for orientation in range(2, 9):
        copy(f"turned{orientation}", "grey8")
        run("tiffset", "-s", 274, orientation, OUT / f"turned{orientation}.tif")
    # A thumbnail stands before the picture.
    copy("thumbnail", "grey8")
    run("tiffset", "-s", 254, 1, OUT / "thumbnail.tif")
    run("tiffcp", "-a", OUT / "grey16.tif", OUT / "thumbnail.tif")
    copy("not_finite", "float32", "-c", "none")
    content = (OUT / "not_finite.tif").read_bytes()
    value = arrays["float32"][2, 3].tobytes()
    assert content.count(value) == 1
    (OUT / "not_finite.tif").write_bytes(content.replace(value, np.float32("nan").tobytes()))
    smooth = np.stack([np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)] * 3, 2)
    smooth[..., 1] = 255 - smooth[..., 0]
    smooth = smooth.astype("u1")
    (scratch / "smooth.ppm").write_bytes(b"P6 %d %d 255\n" % (WIDTH, HEIGHT) + smooth.tobytes())
    run("convert", scratch / "smooth.ppm", "-sampling-factor", "1x1", "-quality", 95, "-compress", "jpeg", OUT / "jpeg.tif")
    save("jpeg", smooth / 255.0)

    # By ImageMagick: bits, palettes and opacity.
    grey = arrays["grey8"]
    (scratch / "grey.pgm").write_bytes(b"P5 %d %d 255\n" % (WIDTH, HEIGHT) + grey.tobytes())
    run("convert", scratch / "grey.pgm", "-threshold", "50%", "-compress", "Group4", OUT / "bilevel.tif")
    save("bilevel", grey > 127.5)
    four = grey >> 4
    (scratch / "four.pgm").write_bytes(b"P5 %d %d 15\n" % (WIDTH, HEIGHT) + four.tobytes())
    run("convert", scratch / "four.pgm", "-depth", 4, "-compress", "none", OUT / "four_bits.tif")
    save("four_bits", four / 15.0)
    colours = np.array([[255, 0, 0], [0, 200, 0], [0, 0, 100], [10, 20, 30], [255, 255, 255]], dtype="u1")[grey % 5]
    (scratch / "colours.ppm").write_bytes(b"P6 %d %d 255\n" % (WIDTH, HEIGHT) + colours.tobytes())
    run("convert", scratch / "colours.ppm", "-type", "palette", "-compress", "lzw", OUT / "palette.tif")
    save("palette", colours / 255.0)
    rgb8 = arrays["rgb8"]
    rgba = np.concatenate([rgb8, grey[..., None]], axis=2)
    (scratch / "rgba").write_bytes(rgba.tobytes())
    run("convert", "-size", f"{WIDTH}x{HEIGHT}", "-depth", 8, f"rgba:{scratch}/rgba", "-compress", "none", OUT / "rgba.tif")
    run("convert", scratch / "colours.ppm", "-colorspace", "CMYK", "-compress", "none", OUT / "cmyk.tif")


HEADER = """(0008,0016) UI =ComputedRadiographyImageStorage
(0008,0018) UI [1.2.3.4.5]
(0008,0060) CS [CR]
(0010,0010) PN [Nobody^Knows]
(0010,0020) LO [secret-7]
(0028,0002) US 1
"""


def dicom(scratch):
    random = np.random.default_rng(12)
    ten = random.integers(0, 1024, (HEIGHT + 1, WIDTH))  # an even number of bytes
    height = HEIGHT + 1

    def make(name, stored, bits=10, signed=0, photometric="MONOCHROME2", allocated=16, frames=None, more="", options=()):
        (scratch / "pixels").write_bytes(stored.tobytes())
        lines = HEADER + f"(0028,0004) CS [{photometric}]\n" + (f"(0028,0008) IS [{frames}]\n" if frames else "")
        lines += f"(0028,0010) US {height}\n(0028,0011) US {WIDTH}\n(0028,0100) US {allocated}\n(0028,0101) US {bits}\n"
        lines += f"(0028,0102) US {bits - 1}\n(0028,0103) US {signed}\n{more}"
        lines += f"(7fe0,0010) {'OW' if allocated == 16 else 'OB'} ={scratch}/pixels\n"
        (scratch / "dump").write_text(lines)
        run("dump2dcm", *options, scratch / "dump", OUT / f"{name}.dcm")

    plain = ten / 1023.0
    make("plain", ten.astype("u2"))
    save("plain", plain)
    make("monochrome1", ten.astype("u2"), photometric="MONOCHROME1")
    save("monochrome1", 1 - plain)
    eight = random.integers(0, 256, (height, WIDTH)).astype("u1")
    make("eight", eight, bits=8, allocated=8)
    save("eight", eight / 255.0)
    make("frames", np.stack([ten, ten[::-1]]).astype("u2"), frames=2)
    # Bits above the stored ones mean something else.
    make("dirty", (ten + 1024 * random.integers(0, 64, ten.shape)).astype("u2"))
    centre, width = 500.5, 300.0
    window = f"(0028,1050) DS [{centre}\\100]\n(0028,1051) DS [{width}\\7]\n"
    make("window", ten.astype("u2"), more=window)
    save("window", np.clip((ten - (centre - 0.5)) / (width - 1) + 0.5, 0, 1))
    make("exact", ten.astype("u2"), more=window + "(0028,1056) CS [LINEAR_EXACT]\n")
    save("exact", np.clip((ten - centre) / width + 0.5, 0, 1))
    make("sigmoid", ten.astype("u2"), more=window + "(0028,1056) CS [SIGMOID]\n")
    save("sigmoid", 1 / (1 + np.exp(-4 * (ten - centre) / width)))
    below = ten - 512
    make("signed", (below & 1023).astype("u2"), signed=1)
    rescale = "(0028,1052) DS [-100]\n(0028,1053) DS [-0.5]\n"
    make("rescaled", (below & 1023).astype("u2"), signed=1, more=rescale + "(0028,1050) DS [0]\n(0028,1051) DS [400]\n")
    save("rescaled", np.clip((-0.5 * below - 100 + 0.5) / 399 + 0.5, 0, 1))
    make("turned_over", ten.astype("u2"), more="(0028,1052) DS [5]\n(0028,1053) DS [-2]\n")
    for name, tool, *options in (("big_endian", "dcmconv", "+tb"), ("implicit", "dcmconv", "+ti"), ("deflated", "dcmconv", "+td"),
                                 ("run_length", "dcmcrle"), ("jpeg_lossless", "dcmcjpeg", "+e1"), ("jpeg_ls", "dcmcjpls")):
        run(tool, *options, OUT / "plain.dcm", OUT / f"{name}.dcm")
    # Of what DCMTK does not unpack there is no encoder either: the name of another packing.
    content = (OUT / "jpeg_lossless.dcm").read_bytes()
    assert content.count(b"1.2.840.10008.1.2.4.70") == 1
    (OUT / "jpeg_2000.dcm").write_bytes(content.replace(b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.90"))
    make("no_image", ten.astype("u2"))
    run("dcmodify", "-nb", "-e", "(7fe0,0010)", OUT / "no_image.dcm")
    make("modality_lut", ten.astype("u2"), more="(0028,3000) SQ\n(fffe,e000) -\n(0028,3002) US 2\\0\\16\n(fffe,e00d) -\n(fffe,e0dd) -\n")
    (scratch / "colour.ppm").write_bytes(b"P6 8 8 255\n" + bytes(192))
    run("convert", scratch / "colour.ppm", "-type", "truecolor", scratch / "colour.jpg")
    run("img2dcm", scratch / "colour.jpg", OUT / "colour.dcm")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        tiff(pathlib.Path(name))
        dicom(pathlib.Path(name))


if __name__ == "__main__":
    main()
