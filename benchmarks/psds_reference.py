"""The reference tools at their work: reads data once, then times a job for each line it is sent.

It runs in an environment of its own, see psds.py, and knows nothing of sedtool.
"""

import csv
import json
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
from psds_eval import PSDSEval
from sed_scores_eval import intersection_based, io

warnings.simplefilter("ignore")  # of pandas, on how it is called
COLUMNS = ["filename", "onset", "offset", "event_label"]


def rows_of(path: Path) -> list[tuple[str, float, float, str]]:
    """Return the events of a TSV."""
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        (r["filename"], float(r["onset"]), float(r["offset"]), r["event_label"])
        for r in rows
        if r["event_label"]
    ]


class Reference:
    """The data, and a method a job."""

    def __init__(self, folder: Path) -> None:
        self.scores = io.read_sed_scores(folder / "scores")
        durations = pd.read_csv(folder / "durations.tsv", sep="\t")
        self.metadata = durations
        self.durations = {n[:-4]: d for n, d in durations.itertuples(index=False)}
        rows = rows_of(folder / "reference.tsv")
        self.reference = pd.DataFrame(rows, columns=COLUMNS)
        self.events: dict[str, list[tuple[float, float, str]]] = {n: [] for n in self.durations}
        for name, onset, offset, label in rows:
            self.events[name[:-4]].append((onset, offset, label))
        self.lists = [
            pd.DataFrame(rows_of(path), columns=COLUMNS)
            for path in sorted((folder / "lists").iterdir())
        ]

    def scenario(self, dtc: float, gtc: float, cttc: float | None, alpha_ct: float) -> float:
        """Return the PSDS of the scores, by sed_scores_eval."""
        value, *_ = intersection_based.psds(
            scores=self.scores,
            ground_truth=self.events,
            audio_durations=self.durations,
            dtc_threshold=dtc,
            gtc_threshold=gtc,
            cttc_threshold=cttc,
            alpha_ct=alpha_ct,
            alpha_st=1.0,
            max_efpr=100.0,
        )
        return float(value)

    def by_lists(self) -> float:
        """Return the PSDS of the lists, by psds_eval."""
        tool = PSDSEval(0.1, 0.1, 0.3, ground_truth=self.reference, metadata=self.metadata)
        for table in self.lists:
            tool.add_operating_point(table)
        return float(tool.psds(0.5, 1.0, 100.0).value)

    def run(self, job: str) -> float:
        """Return what a job computes."""
        if job == "psds1":
            return self.scenario(0.7, 0.7, None, 0.0)
        return self.scenario(0.1, 0.1, 0.3, 0.5) if job == "psds2" else self.by_lists()


def main() -> None:
    """Answer each job on stdin with its CPU seconds and its result."""
    reference = Reference(Path(sys.argv[1]))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        started = time.process_time()
        value = reference.run(line.strip())
        print(json.dumps([time.process_time() - started, value]), flush=True)


if __name__ == "__main__":
    main()
