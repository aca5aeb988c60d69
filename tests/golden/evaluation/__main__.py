"""Rewrite the golden reports: run ``python tests/golden/evaluation`` after a meant change only."""

from pathlib import Path

from sedtool.config import EvaluationConfig
from sedtool.evaluation import evaluate
from sedtool.evaluation.formats import format_evaluation
from sedtool.labels import read_durations, read_events, read_weak

FOLDER = Path(__file__).parent

if __name__ == "__main__":
    result = evaluate(
        read_events(FOLDER / "reference.tsv"),
        read_events(FOLDER / "estimated.tsv"),
        EvaluationConfig(),
        durations=read_durations(FOLDER / "durations.tsv"),
        weak_estimated=read_weak(FOLDER / "tags.tsv"),
    )
    (FOLDER / "metrics.json").write_text(result.to_json(), "utf-8")
    (FOLDER / "table.txt").write_text(format_evaluation(result, "table"), "utf-8")
