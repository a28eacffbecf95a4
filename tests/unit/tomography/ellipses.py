"""Ellipses with exact projections: the truth that reconstructions are held against."""

import numpy as np

# x, y of the middle, half axes a and b, turn in degrees, attenuation; lengths in units of the half width
ELLIPSES = (
    (0.0, 0.0, 0.60, 0.80, 0.0, 1.0),
    (0.1, 0.3, 0.20, 0.12, 30.0, 0.5),
    (-0.2, -0.25, 0.10, 0.25, -20.0, -0.6),
    (0.25, -0.2, 0.08, 0.08, 0.0, 0.8),
    (-0.1, 0.45, 0.05, 0.03, 60.0, -0.7),
)


def project(width, theta_deg, centre, scale=0.9, oversample=4):
    """Attenuation integrated over each pixel, shape (n_angles, width)."""
    radius = width / 2 * scale
    theta = np.deg2rad(np.asarray(theta_deg, float))[:, None]
    place = (np.arange(width * oversample)[None] + 0.5) / oversample - 0.5 - centre
    lines = np.zeros((len(theta), width * oversample))
    for x, y, a, b, turn, value in ELLIPSES:
        middle = (x * np.cos(theta) + y * np.sin(theta)) * radius
        turned = theta - np.deg2rad(turn)
        half2 = ((a * np.cos(turned)) ** 2 + (b * np.sin(turned)) ** 2) * radius**2
        chord = np.sqrt(np.maximum(half2 - (place - middle) ** 2, 0)) / half2
        lines += value * 2 * a * b * radius**2 * chord
    return lines.reshape(len(theta), width, oversample).mean(axis=2) / radius


def truth(width, scale=0.9, oversample=4):
    """The slice, shape (width, width): x to the right, y upwards, the axis in the middle."""
    radius = width / 2 * scale
    place = (np.arange(width * oversample) + 0.5) / oversample - 0.5 - (width - 1) / 2
    u, v = place[None] / radius, -place[:, None] / radius
    image = np.zeros((width * oversample, width * oversample), np.float32)
    for x, y, a, b, turn, value in ELLIPSES:
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        inside = (((u - x) * cos + (v - y) * sin) / a) ** 2 + (((v - y) * cos - (u - x) * sin) / b) ** 2 <= 1
        image[inside] += value
    return image.reshape(width, oversample, width, oversample).mean(axis=(1, 3)) / radius
