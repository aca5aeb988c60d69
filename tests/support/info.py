"""`sedtool info` run in this process, and small artifacts for it to describe."""

import json
import re

import numpy as np
from click.testing import CliRunner

from sedtool.cli import cli
from sedtool.config import DecodingConfig
from sedtool.store import ScoresHeader, ScoresWriter
from support.score_files import scored_whole


def run(*arguments):
    return CliRunner().invoke(cli, ["info", *map(str, arguments)])


def as_json(*arguments):
    """Return what `info --json` prints, read by a strict reader."""
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(result.stdout, parse_constant=refuse)


def flip(path, offset):
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)
    return path


def write_small_scores(path):
    """Write the scores of one clip of a second and two classes."""
    header = ScoresHeader(
        ("Dog", "Cat"), 10.0, DecodingConfig((0.3, 0.6), (0.2, 0.4), (0.3, 1.5)), "ab" * 32
    )
    frame, clip = np.full((10, 2), 0.25, np.float32), np.full(2, 0.5, np.float32)
    with ScoresWriter(path, header) as writer:
        writer.append(scored_whole("a.wav", 1.0, frame, clip))
    return path


def check_frame(found):
    """Check what all descriptions have in common."""
    keys = list(found.to_json())
    assert keys[:2] == ["path", "kind"]
    assert keys[-2:] == ["verified", "problems"]
    lines = found.text().splitlines()
    assert lines[0].endswith(f": {found.kind}")
    assert re.match(r"[\w.]+: ", lines[1])
