"""Copies of audio are told by what is in the files, whether they were decoded or not."""

import numpy as np

from sedtool.audio import write_wav
from sedtool.checking.files import Clip, copies, inspect


def test_copies_are_told_by_content_not_by_size_or_by_their_middle(tmp_path):
    base = np.random.default_rng(0).bytes(300_000)
    contents = {"a": base, "b": base, "same middle": b"x" + base[1:], "other": base[::-1]}
    clips = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        clips.append(Clip(name, tmp_path / name, size=len(content)))
    assert copies(clips, workers=2) == [["a", "b"]]


def test_a_copy_is_told_though_one_of_the_two_was_decoded(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 4_000)
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / name, wave, 8_000)
    decoded = inspect({"a.wav": tmp_path / "a.wav"}, True, 1)
    clips = decoded | inspect({"b.wav": tmp_path / "b.wav"}, False, 1)
    listed = Clip("x/a.wav", sha256=decoded["a.wav"].sha256)  # in a features file
    assert copies([*clips.values(), listed], workers=2) == [["a.wav", "b.wav", "x/a.wav"]]
