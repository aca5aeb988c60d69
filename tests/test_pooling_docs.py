"""What docs/pooling.md says: its example runs and prints what stands there, its numbers are so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sedtool.config import PoolingConfig
from sedtool.pooling import POOLINGS, PowerPooling, make_pooling

TEXT = (Path(__file__).parents[1] / "docs/pooling.md").read_text()


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(first_cell):
    """Return the rows of the table whose head starts so."""
    rows = TEXT[TEXT.index(f"| {first_cell} |") :].split("\n\n")[0].splitlines()
    return [cells(row) for row in rows[2:]]


def test_every_pooling_is_in_the_table_and_has_a_paragraph():
    assert {row[0].strip("`") for row in table("name")} == set(POOLINGS)
    for name in POOLINGS:
        assert f"\n**{name}.** " in TEXT


@pytest.mark.parametrize("row", table("name"), ids=lambda row: row[0])
def test_options_of_the_table_are_taken_at_the_defaults_it_states(row):
    name, options = row[0].strip("`"), re.findall(r"`(\w+)`(?: \(([^)]*)\))?", row[2])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = make_pooling(PoolingConfig(name), 2, 3)
    text = ",".join(
        f"{k}={v}" for k, v in options if (v and k not in ("clip", "max")) or k == "max"
    )
    text = text if name != "hierarchical" else "base=power,levels=5x4"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stated = make_pooling(PoolingConfig.parse(f"{name}:{text}"), 2, 3)
    for key in ("max", "lambda_", "levels"):
        assert getattr(stated, key, None) == getattr(plain, key, None)
    assert str(stated.state_dict()) == str(plain.state_dict())
    assert [p.shape for p in stated.parameters()] == [p.shape for p in plain.parameters()]


@pytest.mark.parametrize("row", table("pooling"), ids=lambda row: row[0])
def test_one_frame_among_a_hundred_pools_to_what_the_table_states(row):
    y = torch.full((100,), 0.01, dtype=torch.float64)
    y[40] = 0.95
    for text in re.findall("`([^`]+)`", row[0]):
        pool = make_pooling(PoolingConfig.parse(text), 1, 0).double()
        log_y, _ = pool(y.logit()[None, :, None])
        assert f"{log_y.exp().item():.3f}" == row[1]


def test_the_plain_formula_fails_where_the_text_says_and_the_pooling_does_not():
    for dtype, y, n, plain in [
        (torch.float16, 0.01, 6, "nan"),
        (torch.float16, 0.001, 3, "nan"),
        (torch.float32, 1e-7, 6, "0.0"),
        (torch.float32, 1e-8, 6, "nan"),
    ]:
        values = torch.full((100,), y, dtype=dtype)
        weights = values**n
        assert str(((weights * values).sum() / weights.sum()).item()) == plain
        logits = torch.full((1, 100, 1), y, dtype=torch.float64).logit().float()
        assert PowerPooling(1, init=n)(logits)[0].exp().item() == pytest.approx(y, rel=1e-5)


def test_the_example_of_digits_prints_what_stands_below_it(tmp_path):
    code, printed = re.search(
        r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", TEXT, re.S
    ).groups()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found, stated = (
        [line.split() for line in text.splitlines()] for text in (done.stdout, printed)
    )
    assert found[0] == stated[0]
    assert len(found) == len(stated) == 4
    for row, expected in zip(found[1:], stated[1:], strict=True):
        assert row[0] == expected[0]
        # Three hundred steps make much of the last bit, which is another on another machine.
        for value, other, tolerance in zip(
            row[1:], expected[1:], (0.15, 0.15, 0.2, 1.5), strict=True
        ):
            if other == "-":
                assert value == "-"
            else:
                assert float(value) == pytest.approx(float(other), abs=tolerance)
