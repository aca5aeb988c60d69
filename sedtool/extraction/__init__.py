"""Audio files -> features.h5, several files at a time.

Threads, not processes: decoding, resampling and the Fourier transform release Python's lock, and a
fork after torch has started threads hangs. Each clip's frames wait in a temporary file of their
own, so memory is bounded by the number of workers, whatever the length of the clips; the output
has them in the order of their names, whichever was ready first.

`settings` says how a run works, `stage` runs it, `clips` makes the features of one clip, and
`planning` says beforehand what a run would take.
"""

from sedtool.extraction.planning import ExtractionPlan, plan_extraction
from sedtool.extraction.settings import ExtractSettings
from sedtool.extraction.stage import ExtractionResult, extract

__all__ = ["ExtractSettings", "ExtractionPlan", "ExtractionResult", "extract", "plan_extraction"]
