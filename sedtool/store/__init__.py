"""features.h5 and scores.h5: written whole or not at all, checked when read.

Only this package knows h5py. `layout` says how both formats look and writes them, `reading` checks
and opens them, `spool` makes an interrupted run resumable, `features` and `scores` say what the
arrays mean, and `merge` joins the files of several shards.
"""

from sedtool.store.features import (
    DTYPES,
    Features,
    FeaturesHeader,
    FeaturesWriter,
    SourceClip,
    open_features,
)
from sedtool.store.reading import file_format, is_hdf5
from sedtool.store.scores import (
    ClipScores,
    Scores,
    ScoresHeader,
    ScoresWriter,
    clip_scores,
    open_scores,
)
from sedtool.store.spool import unfinished

__all__ = [
    "DTYPES",
    "ClipScores",
    "Features",
    "FeaturesHeader",
    "FeaturesWriter",
    "Scores",
    "ScoresHeader",
    "ScoresWriter",
    "SourceClip",
    "clip_scores",
    "file_format",
    "is_hdf5",
    "open_features",
    "open_scores",
    "unfinished",
]
