"""From the label files and audio of DCASE 2019 task 4 to the label files of sedtool.

    python recipes/dcase2019/prepare.py AUDIO METADATA OUT

AUDIO is the folder with ``train/weak``, ``train/unlabel_in_domain``, ``train/synthetic`` and
``validation`` in it; other names do as long as a soundscape such as ``10.wav`` is there once.
METADATA is a folder with ``weak``, ``unlabel_in_domain``, ``synthetic`` and ``validation``, .tsv
or .csv, at any depth. What is made:

    OUT/labels/train_weak.tsv        and train_strong.tsv, of synthetic clips: to train with
    OUT/labels/unlabelled.tsv        to train with
    OUT/labels/held_out_weak.tsv     and held_out_strong.tsv, a fifth: thresholds, best epoch
    OUT/labels/synthetic_strong.tsv  all synthetic labels, whose durations set the median windows
    OUT/labels/test_strong.tsv       the "validation" clips, for nothing but the scores at the end
    OUT/labels/classes.txt           the ten classes
    OUT/lists/*.tsv                  audio to compute features of, and to test with
    OUT/missing.tsv                  clips that are not there or cannot be read, and why
    OUT/prepared.json                what all this was made of; the same call finds it made

Clips are named as in AUDIO. What is held out depends on the label files and the seed alone.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sedtool.atomic import write_text
from sedtool.errors import SedtoolError
from sedtool.labels import (
    StrongLabels,
    Vocabulary,
    read_events,
    read_names,
    read_weak,
    write_events,
    write_weak,
)
from sedtool.recipes.corpora import (
    AudioFolder,
    Found,
    find_label_file,
    format_classes,
    format_summary,
    hold_out,
    write_missing,
    write_names,
)
from sedtool.recipes.prepared import Preparation, describe_files, describe_names

CLASSES = (
    *("Alarm_bell_ringing", "Blender", "Cat", "Dishes", "Dog", "Electric_shaver_toothbrush"),
    *("Frying", "Running_water", "Speech", "Vacuum_cleaner"),
)
FOLDERS = {  # of the audio of each split, as published
    "test_strong": "validation",
    "held_out_strong": "train/synthetic",
    "held_out_weak": "train/weak",
    "train_strong": "train/synthetic",
    "train_weak": "train/weak",
    "unlabelled": "train/unlabel_in_domain",
}


@dataclass(frozen=True)
class Labels:
    """What the label files say, under their own names of the clips."""

    weak: dict[str, tuple[str, ...]]
    unlabelled: list[str]
    synthetic: StrongLabels
    test: StrongLabels


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("audio", type=Path, metavar="AUDIO")
    parser.add_argument("metadata", type=Path, metavar="METADATA")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--seed", type=int, default=0, help="of what is held out; 0")
    parser.add_argument("--held-out", type=float, default=0.2, metavar="SHARE", help="0.2")
    parser.add_argument("--overwrite", action="store_true", help="replace what was made before")
    options = parser.parse_args(arguments)
    try:
        prepare(**vars(options))
    except SedtoolError as error:
        _say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("stopped; run the same line again")
        return 130
    return 0


def prepare(
    audio: Path, metadata: Path, out: Path, seed: int, held_out: float, overwrite: bool
) -> None:
    """Write the label files, and say what they hold and what is missing."""
    clips = AudioFolder(audio)
    label_files = find_label_files(metadata)
    fixed = describe_files(label_files.values()) | {"seed": seed, "held-out": held_out}
    preparation = Preparation(out, fixed, describe_names(clips.paths))
    if preparation.is_done(overwrite):
        _say(f"{out} is prepared already")
        if preparation.audio_differs():
            _say(f"warning: {audio} has other files than then; the lists of {out} stay as they are")
        return
    labels = read_labels(label_files)
    held = hold_out(labels.weak, held_out, seed)
    held_synthetic = hold_out(labels.synthetic.weak(), held_out, seed)
    splits = {
        "test_strong": labels.test.names,
        "held_out_strong": [name for name in labels.synthetic.names if name in held_synthetic],
        "held_out_weak": [name for name in labels.weak if name in held],
        "train_strong": [name for name in labels.synthetic.names if name not in held_synthetic],
        "train_weak": [name for name in labels.weak if name not in held],
        "unlabelled": labels.unlabelled,
    }
    found, missing = clips.resolve(splits, FOLDERS, ["test_strong"], _show_progress)
    clips.require_clips(found, missing)
    _say(format_summary(found, missing))
    preparation.begin("labels", "lists")
    write_labels(out / "labels", labels, found)
    files = {split: list(names.values()) for split, names in found.items()}
    test = files.pop("test_strong")
    write_names(out / "lists" / "train.tsv", (file for split in files.values() for file in split))
    write_names(out / "lists" / "test.tsv", test)
    write_missing(out / "missing.tsv", missing)
    write_text(out / "labels" / "classes.txt", "".join(f"{label}\n" for label in CLASSES))
    preparation.finish()
    for features in ("features.h5", "test.h5"):
        if (out / features).exists():
            _say(f"{out / features} is of earlier lists; remove it unless they were the same")


def find_label_files(metadata: Path) -> dict[str, Path]:
    """Return the published files by their stems."""
    return {
        stem: find_label_file(metadata, f"{stem}.tsv", f"{stem}.csv")
        for stem in ("weak", "unlabel_in_domain", "synthetic", "validation")
    }


def read_labels(files: Mapping[str, Path]) -> Labels:
    """Read the label files; the classes are the ten, whatever a file has of them."""
    vocabulary = Vocabulary(CLASSES)
    strong = {stem: read_events(files[stem]) for stem in ("synthetic", "validation")}
    for stem, labels in strong.items():
        vocabulary.require(labels.classes, files[stem])
    return Labels(
        read_weak(files["weak"], vocabulary),
        read_names(files["unlabel_in_domain"]),
        strong["synthetic"],
        strong["validation"],
    )


def write_labels(folder: Path, labels: Labels, found: dict[str, Found]) -> None:
    """Write the labels of what was found, and say how many clips have each class."""
    weak = {}
    for split, source in (
        ("train_strong", labels.synthetic),
        ("held_out_strong", labels.synthetic),
        ("test_strong", labels.test),
    ):
        strong = source.renamed(found[split])
        write_events(folder / f"{split}.tsv", strong)
        weak[split] = strong.weak()
    for split in ("train_weak", "held_out_weak"):
        weak[split] = {file: labels.weak[name] for name, file in found[split].items()}
        write_weak(folder / f"{split}.tsv", weak[split])
    write_names(folder / "unlabelled.tsv", found["unlabelled"].values())
    write_events(folder / "synthetic_strong.tsv", labels.synthetic)
    _say(format_classes(CLASSES, weak))


def _show_progress(done: int, total: int) -> None:
    if done % 5_000 == 0:
        _say(f"{done} of {total} files read")


def _say(text: str) -> None:
    if text:
        print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
