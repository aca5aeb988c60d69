"""features.h5 and scores.h5: written whole or not at all, checked when read, mapped into memory.

Only this package knows h5py. `layout` says how both formats look, `writing` and `reading` move
arrays, `spool` makes an interrupted extraction resumable, `features` and `scores` say what the
arrays mean, and `parts` joins the files of several shards.
"""

from sedtool.store.features import (
    DTYPES,
    Features,
    FeaturesJob,
    FeaturesWriter,
    SourceClip,
    open_features,
    refuse_finished,
)
from sedtool.store.parts import (
    Part,
    Piece,
    join_features,
    join_scores,
    open_features_part,
    open_scores_part,
    read_pieces,
)
from sedtool.store.reading import file_format, file_shard, is_hdf5
from sedtool.store.scores import (
    ScoredClip,
    Scores,
    ScoresHeader,
    ScoresWriter,
    open_scores,
)
from sedtool.store.spool import Unfinished, resumes, unfinished

__all__ = [
    "DTYPES",
    "Features",
    "FeaturesJob",
    "FeaturesWriter",
    "Part",
    "Piece",
    "ScoredClip",
    "Scores",
    "ScoresHeader",
    "ScoresWriter",
    "SourceClip",
    "Unfinished",
    "file_format",
    "file_shard",
    "is_hdf5",
    "join_features",
    "join_scores",
    "open_features",
    "open_features_part",
    "open_scores",
    "open_scores_part",
    "read_pieces",
    "refuse_finished",
    "resumes",
    "unfinished",
]
