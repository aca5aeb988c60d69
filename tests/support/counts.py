"""Counts from tables of numbers."""

import numpy as np

from sedtool.evaluation.counts import Counts, Entries, MacroRule


def counts_of(table, rule=MacroRule.ZERO):
    """Return the counts of a table (C, K, 3): true positives, references, estimates."""
    table = np.asarray(table)
    n_clips, n_classes, _ = table.shape
    cells = np.arange(n_clips * n_classes)
    kinds = tuple(Entries(cells, each.astype(float)) for each in table.reshape(-1, 3).T)
    names = tuple(f"class {k}" for k in range(n_classes))
    return Counts(n_clips, names, names, kinds, rule)


def table_of(counts):
    """Return the counts of the class list in each clip, (C, K, 3)."""
    return counts.by_clip.toarray().reshape(counts.n_clips, -1, 3)
