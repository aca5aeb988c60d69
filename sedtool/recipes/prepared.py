"""What a recipe prepared in a folder, and from what: made once, and never mixed with another.

A recipe is run on one folder again and again until its sweep is done. ``prepared.json`` says what
the label files in it were made of, so that the same call finds them made, and one with other label
files or options is refused: runs in the folder would go on with the old ones without a word.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedtool.atomic import resource_errors, write_text
from sedtool.bounds import RECORD, read_bounded
from sedtool.errors import ArtifactError, OutputExistsError
from sedtool.text import file_sha256

_FORMAT = {"format": "sedtool-prepared", "format_version": 1}


def describe_files(paths: Iterable[Path]) -> dict[str, str]:
    """Return the digest of each file by its name."""
    return {path.name: f"sha256:{file_sha256(path)}" for path in paths}


def describe_names(names: Iterable[str]) -> str:
    """Return how many names there are, and what tells them from others."""
    ordered = sorted(names)
    digest = hashlib.sha256("\0".join(ordered).encode()).hexdigest()
    return f"{len(ordered)} files, sha256:{digest}"


@dataclass(frozen=True)
class Preparation:
    """A folder of label files, and what they are made of."""

    out: Path  # label files are in ``labels`` there
    fixed: Mapping[str, str | int | float]  # digests and options that must not change meanwhile
    audio: str = ""  # what there is, if it may come and go: the clips stay those of the first call

    @property
    def _record(self) -> Path:
        return self.out / "prepared.json"

    def is_done(self, overwrite: bool) -> bool:
        """Return whether the folder is prepared already, by a call like this one.

        One that was made of something else, or by no recipe, is an OutputExistsError.
        """
        if overwrite:
            return False
        record = self._read()
        if record is None:
            if any((self.out / "labels").glob("*")):
                raise OutputExistsError(
                    f"{self.out / 'labels'} has files that no recipe recorded; take another folder,"
                    " or replace them with --overwrite"
                )
            return False
        if not record["finished"]:
            return False
        different = [
            f"{key} {_brief(record['fixed'].get(key))} then and {_brief(value)} now"
            for key, value in self.fixed.items()
            if record["fixed"].get(key) != value
        ]
        if different:
            raise OutputExistsError(
                f"{self.out} was prepared from something else ({'; '.join(different)}); take "
                "another folder, or remove this one"
            )
        return True

    def audio_differs(self) -> bool:
        """Return whether there is other audio than when the folder was prepared."""
        record = self._read()
        return record is not None and record["audio"] != self.audio

    def begin(self, *folders: str) -> None:
        """Make the folder and some in it, and note that what is there is not whole."""
        for folder in (self.out, *(self.out / name for name in folders)):
            with resource_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
        self._write(finished=False)

    def finish(self) -> None:
        """Note that all is made."""
        self._write(finished=True)

    def _write(self, finished: bool) -> None:
        fields = _FORMAT | {"finished": finished, "fixed": dict(self.fixed), "audio": self.audio}
        write_text(self._record, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")

    def _read(self) -> dict[str, Any] | None:
        """Return what prepared.json says; None if there is none."""
        try:
            fields = json.loads(read_bounded(self._record, RECORD))
            if {key: fields[key] for key in _FORMAT} != _FORMAT:
                raise ValueError("it is of another version")
            finished, audio = fields["finished"], str(fields["audio"])
            return {"finished": finished, "fixed": dict(fields["fixed"]), "audio": audio}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ArtifactError(f"{self._record} cannot be read ({error!r})") from None


def _brief(value: object) -> str:
    """Return a value as a person reads it; two digests differ in their first digits."""
    return str(value)[:15] if isinstance(value, str) else str(value)
