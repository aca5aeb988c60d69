"""Files with a few changes at random: bytes replaced, inserted, doubled, lost, cut off."""

import numpy as np

NUMBERS = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
]
# What means something in a table, a recipe or a list.
WORDS = [
    *(b"\t", b"\n", b"\r\n", b"\0", b'"', b"'", b",", b"#", b" ", b"\\", b"\xef\xbb\xbf", b"\xff"),
    *(b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[31m", b"\x7f", b"-1", b"nan", b"inf", b"1e308"),
    *(b"1e400", b"NA", b"9" * 400, b"0x1", b"1_0", "١".encode(), b"filename", b"event_label"),
    *(b"&a ", b"*a", b"<<: ", b"!!python/object:os.system ", b"[", b"{", b": ", b"- ", b"? ", b"|"),
    *(b"[" * 500, b"{a: " * 500, b"a" * 5_000, b"\t" * 500, b"\n" * 500),
]


def mutated(content: bytes, rng: np.random.Generator, head: int = 100) -> bytearray:
    """Return a file with one to four changes, half of them in its head."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        reach = len(changed) if rng.random() < 0.5 else min(len(changed), head)
        at = int(rng.integers(max(reach, 1)))
        length = int(rng.integers(1, 200))
        change = rng.integers(6)
        if change == 0:
            changed[at : at + 1] = rng.bytes(1)
        elif change == 1:
            changed[at : at + 4] = NUMBERS[rng.integers(len(NUMBERS))]
        elif change == 2:
            del changed[at : at + length]
        elif change == 3:
            changed[at:at] = rng.bytes(length)
        elif change == 4:
            changed[at:at] = changed[at : at + length]
        else:
            del changed[len(changed) - length :]
    return changed


def flipped(content: bytes, rng: np.random.Generator) -> bytearray:
    """Return a file with one other bit."""
    changed = bytearray(content)
    changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return changed


def reworded(content: bytes, rng: np.random.Generator) -> bytearray:
    """Return a text with one to three words in it that mean something elsewhere."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(changed) + 1))
        length = int(rng.integers(0, 4))
        changed[at : at + length] = WORDS[rng.integers(len(WORDS))]
    return changed
