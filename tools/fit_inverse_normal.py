#!/usr/bin/python3
"""Fits the three polynomials of the inverse normal distribution function in kernels/training/random.cpp and prints them.

With y the distance of the probability from 1/2 and h = 1/2 - |y| the tail beyond it:
    centre  h > 0.1     x = y * P(y^2)
    tail    h <= 0.1    x = Q(t),  t = (s - 3.15) / 1.64,  s = sqrt(-ln h),  down to h = 2^-33
    logarithm           ln(1 + m) = m * R(m),  1 + m in [sqrt(1/2), sqrt(2))
Weighted least squares on Chebyshev nodes, reweighted until the relative error is nearly equal everywhere. Needs numpy and
scipy.
"""
import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import ndtri


def fit(name, function, low, high, degree, centre=0.0, scale=1.0):
    """Coefficients in (x - centre) / scale, lowest power first."""
    nodes = np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
    x = (low + high) / 2 + (high - low) / 2 * nodes
    y = function(x)
    importance = np.ones_like(x)
    basis = chebyshev.chebvander(nodes, degree) / y[:, None]
    for _ in range(100):
        c = np.linalg.lstsq(basis * importance[:, None], importance, rcond=None)[0]
        error = np.abs(basis @ c - 1)
        importance *= np.sqrt(error / error.max() + 1e-3)
        importance /= importance.max()
    # From Chebyshev polynomials on [low, high] to powers of the scaled variable.
    series = chebyshev.Chebyshev(c, domain=[(low - centre) / scale, (high - centre) / scale])
    powers = series.convert(kind=np.polynomial.Polynomial).coef.astype(np.float32)
    worst = np.abs(np.polynomial.polynomial.polyval((x - centre) / scale, powers.astype(float)) / y - 1).max()
    print(f"{name}: relative error {error.max():.1e}, {worst:.1e} with coefficients in float")
    print("    " + ", ".join(f"{p:.9g}f" for p in powers))


def centre(u):
    y = np.sqrt(u)
    return -ndtri(0.5 - y) / y


if __name__ == "__main__":
    fit("centre", centre, 0.0, 0.16, 9)
    fit("tail", lambda s: -ndtri(np.exp(-s * s)), np.sqrt(-np.log(0.1)), np.sqrt(33 * np.log(2)), 10, 3.15, 1.64)
    fit("logarithm", lambda m: np.log1p(m) / m, np.sqrt(0.5) - 1, np.sqrt(2) - 1, 8)
