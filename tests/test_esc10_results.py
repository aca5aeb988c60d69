"""The results of the ESC-10 recipe: its README says what the tables of `compare` beside it say."""

import csv
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "recipes" / "esc10"
COLUMNS = [
    (metric, rate) for metric in ("event", "segment") for rate in ("f1", "precision", "recall")
]
COLUMNS += [("clip", "f1")]
TABLES = {  # in the order in which the README has them
    "scores": "| pooling | seeds | event F1 |",
    "gains": "| pooling | gain | relative |",
}
SWEEPS = ("weak", "mean-teacher")


def recorded(name):
    """Return the rows of a comparison.tsv by pooling, metric and rate; gains and all."""
    with (FOLDER / "results" / f"{name}.tsv").open(newline="") as stream:
        rows = [r for r in csv.DictReader(stream, delimiter="\t") if r["rule"] == "default"]
    return {(row["pooling"], row["metric"], row["rate"]): row for row in rows}


def printed(kind, place):
    """Return the cells of a table of the README: the `place`-th of a kind."""
    text = (FOLDER / "README.md").read_text()
    table = text.split(TABLES[kind])[place + 1].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def score(row):
    mean = f"{float(row['mean']):.3f}"
    mean = f"**{mean}**" if row["best"] == "1" else mean
    return f"{mean} ± {float(row['deviation']):.3f}" if row["deviation"] else mean


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_readme_has_the_scores_of_every_pooling(sweep):
    rows = recorded(sweep)
    expected = [
        [
            pooling,
            rows[pooling, "event", "f1"]["n_seeds"],
            *(score(rows[pooling, *c]) for c in COLUMNS),
        ]
        for pooling in dict.fromkeys(pooling for pooling, _, _ in rows)
    ]
    assert printed("scores", SWEEPS.index(sweep)) == expected


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_readme_has_the_gain_of_every_pooling_and_its_interval(sweep):
    rows = [r for (_, *column), r in recorded(sweep).items() if column == ["event", "f1"]]
    expected = [
        [
            row["pooling"],
            f"{float(row['gain']):+.3f}",
            f"{float(row['relative_gain']):+.1%}".replace("%", " %"),
            f"{float(row['interval_low']):+.3f} to {float(row['interval_high']):+.3f}",
        ]
        for row in rows
        if row["gain"]
    ]
    assert [cells[:4] for cells in printed("gains", SWEEPS.index(sweep))] == expected
