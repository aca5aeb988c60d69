"""features.h5 and scores.h5: written whole or not at all, checked when read, mapped into memory.

Only this package knows h5py. `layout` says how both formats look, `writing` and `reading` move
arrays, `spool` makes an interrupted extraction resumable, and `features` and `scores` say what the
arrays mean.
"""

from sedtool.store.features import DTYPES, Features, FeaturesWriter, SourceClip, open_features
from sedtool.store.reading import file_format, is_hdf5
from sedtool.store.scores import ScoredClip, Scores, ScoresWriter, open_scores, write_scores

__all__ = [
    "DTYPES",
    "Features",
    "FeaturesWriter",
    "ScoredClip",
    "Scores",
    "ScoresWriter",
    "SourceClip",
    "file_format",
    "is_hdf5",
    "open_features",
    "open_scores",
    "write_scores",
]
