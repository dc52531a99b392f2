#!/usr/bin/env python3
"""scikit-image's total-variation denoising for tools/compare, in a process of its own, as lines of JSON on standard output.

    compare_skimage.py versions
    compare_skimage.py denoise --method M --folder DIR [--repeat N] [--serve]    time, PSNR, weight, iterations

Methods, with the library's own tolerance and limit of iterations (one thread, single precision, nothing flows over the border):
    chambolle              min ½‖x − z‖² + w·TV(x), isotropic, by Chambolle's projection
    bregman                isotropic, by split Bregman
    bregman_anisotropic    anisotropic, by split Bregman
The weight w (split Bregman takes 1/w) is the one of a grid that brings the noisy picture closest to the clean one, as the best
scalar λ does for the program. The folder is that of compare_torch.py inputs.
"""
import argparse
import os

import numpy
import skimage
from skimage.restoration import denoise_tv_bregman, denoise_tv_chambolle

from compare_worker import answer, measure

WEIGHTS = numpy.linspace(0, 0.8, 81)[1:41]  # of the search's 81 values the lower half, but 0
LIMIT = {"chambolle": 200, "bregman": 100, "bregman_anisotropic": 100}  # the library's defaults
TOLERANCE = {"chambolle": 2e-4, "bregman": 1e-3, "bregman_anisotropic": 1e-3}


def denoise(method, image, weight, limit):
    """The result of at most `limit` iterations."""
    if method == "chambolle":
        return denoise_tv_chambolle(image, weight=weight, eps=TOLERANCE[method], max_num_iter=limit)
    return denoise_tv_bregman(image, weight=1 / weight, eps=TOLERANCE[method], max_num_iter=limit,
                              isotropic=method == "bregman")


def psnr(image, clean):
    return float(-10 * numpy.log10(numpy.mean(numpy.square(image.astype(numpy.float64) - clean))))


def iterations(method, image, weight):
    """How many it takes, which the library does not say: the fewest that give the result of its limit."""
    result = denoise(method, image, weight, LIMIT[method])
    fewest, most = 1, LIMIT[method]
    while fewest < most:
        middle = (fewest + most) // 2
        if numpy.array_equal(denoise(method, image, weight, middle), result):
            most = middle
        else:
            fewest = middle + 1
    return fewest


def measured(options):
    noisy, clean = (numpy.load(os.path.join(options.folder, name + ".npy")) for name in ("noisy", "clean"))
    quality = {float(weight): psnr(denoise(options.method, noisy, weight, LIMIT[options.method]), clean) for weight in WEIGHTS}
    best = max(quality, key=quality.get)
    found = {"weight": best, "psnr": quality[best], "iterations": iterations(options.method, noisy, best),
             "limit": LIMIT[options.method], "tolerance": TOLERANCE[options.method]}

    def run():
        denoise(options.method, noisy, best, LIMIT[options.method])

    for result in measure(run, run, options.repeat, options.serve):
        yield result | found


parser = argparse.ArgumentParser(description="One measurement of scikit-image for tools/compare.")
parser.add_argument("task", choices=["versions", "denoise"])
parser.add_argument("--method", default="chambolle", choices=list(LIMIT))
parser.add_argument("--folder", default=".")
parser.add_argument("--repeat", type=int, default=1)
parser.add_argument("--serve", action="store_true", help="measure for each line of standard input")
arguments = parser.parse_args()
answer([{"skimage": skimage.__version__, "numpy": numpy.__version__}] if arguments.task == "versions" else measured(arguments))
