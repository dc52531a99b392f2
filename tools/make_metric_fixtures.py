#!/usr/bin/python3
"""Prints PSNR and SSIM by scikit-image for the images of tests/kernels/metrics_test.cpp, and Immerkaer's estimate of their
noise by NumPy for tests/data/noise_estimate_test.cpp, as rows to paste there.

The images are integer formulas over 256, so that this script and the test make the same numbers exactly. Needs numpy and
scikit-image.
"""
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def images(height, width):
    i, j = np.mgrid[0:height, 0:width].astype(np.int64)
    truth = ((i * 7 + j * 3 + i * j // 5) % 200 + 20) / 256
    noise = ((i * 73 + j * 179 + i * j * 31 + (i * i + 3 * j * j) * 11) % 101 - 50) / 256
    return truth, truth + noise


def noise(image):
    """Immerkaer 1996, with the mask written out."""
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    height, width = image.shape
    filtered = sum(mask[a, b] * image[a:height - 2 + a, b:width - 2 + b] for a in range(3) for b in range(3))
    return np.sqrt(np.pi / 2) / 6 * np.abs(filtered).mean()


if __name__ == "__main__":
    for height, width in [(3, 5), (11, 11), (17, 23), (64, 48)]:
        print(f"{{{height}, {width}, {noise(images(height, width)[1]):.15g}}},")
    for height, width in [(11, 11), (17, 23), (64, 48), (129, 75)]:
        truth, image = images(height, width)
        psnr = peak_signal_noise_ratio(truth, image, data_range=1)
        uniform = structural_similarity(truth, image, data_range=1)
        gaussian = structural_similarity(truth, image, data_range=1, gaussian_weights=True, sigma=1.5,
                                         use_sample_covariance=False)
        print(f"{{{height}, {width}, {psnr:.15g}, {uniform:.15g}, {gaussian:.15g}}},")
