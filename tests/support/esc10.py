"""Sounds laid out as ESC-10 is: bursts, ticks and textures in the folders of its classes."""

from pathlib import Path

import numpy as np

from sedtool.audio import write_wav

RATE = 16_000  # Hz
FOLDERS = [
    *("001 - Dog bark", "002 - Rain", "003 - Sea waves", "004 - Baby cry", "005 - Clock tick"),
    *("006 - Person sneeze", "007 - Helicopter", "008 - Chainsaw", "009 - Rooster"),
    "010 - Fire crackling",
]


def tone(seconds, frequency=1000.0):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def silence(seconds):
    return np.zeros(round(seconds * RATE))


def white(seconds, level=0.1, seed=0):
    return level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def bursts(frequency=1000.0):
    """Return five seconds with events at 1.0 to 1.4 s and at 3.0 to 3.3 s."""
    parts = [silence(1.0), tone(0.4, frequency), silence(1.6), tone(0.3, frequency), silence(1.7)]
    return np.concatenate(parts)


def ticks(frequency=3000.0):
    """Return ten ticks, 0.5 s apart, the first at 0.2 s."""
    tick = np.concatenate([silence(0.2), tone(0.03, frequency), silence(0.27)])
    return np.tile(tick, 10)


def texture(frequency=1000.0):
    """Return two seconds of a sound and three of digital silence."""
    return np.concatenate([tone(2.0, frequency), silence(3.0)])


MATERIAL = {"dog": bursts, "baby": bursts, "sneeze": bursts, "rooster": bursts, "clock": ticks}


def make_esc10(folder: Path) -> Path:
    """Make one file for each class and fold, at 500 Hz times the fold; return the folder."""
    for name in FOLDERS:
        make = next((m for key, m in MATERIAL.items() if key in name.lower()), texture)
        (folder / name).mkdir(parents=True)
        for fold in range(1, 6):
            path = folder / name / f"{fold}-{fold}{name[:3]}-A.wav"
            write_wav(path, make(500.0 * fold), RATE)
    return folder
