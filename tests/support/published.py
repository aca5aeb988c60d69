"""Published label lists: whole where they are, else the excerpts in tests/published.

The whole lists are looked for in `../shared/data` beside the repository, or in the folder that
PUBLISHED_LISTS names. Tests run on either, and say what each must give.
"""

import os
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TESTS = Path(__file__).parents[1]
EXCERPTS = TESTS / "published"
SHARED = Path(os.environ.get("PUBLISHED_LISTS", TESTS.parents[1] / "shared" / "data"))
ESC10 = SHARED / "esc10"  # recordings


class PublishedLists:
    """The lists of DCASE 2017 and 2019, whole or excerpts."""

    def __init__(self, folder: Path, whole: bool) -> None:
        self.folder, self.whole = folder, whole
        self.validation = folder / "dcase2019" / "metadata" / "validation" / "validation.tsv"
        self.durations = folder / "dcase2019" / "validation_durations.tsv"

    def predictions(self, threshold: float) -> Path:
        """Return the events that the baseline of DCASE 2019 estimates in the validation clips."""
        return self.folder / "dcase2019" / "baseline_predictions" / f"threshold_{threshold}.tsv"

    def expect(self, whole: T, excerpt: T) -> T:
        """Return what holds for these lists."""
        return whole if self.whole else excerpt


EXCERPT = PublishedLists(EXCERPTS, whole=False)
WHOLE = [PublishedLists(SHARED, whole=True)] if (SHARED / "dcase2019").is_dir() else []
EVERY = [EXCERPT, *WHOLE]  # for quick tests
LARGEST = EVERY[-1]  # for slow ones
