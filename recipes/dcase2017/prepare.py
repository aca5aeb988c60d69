"""From the label files and audio of DCASE 2017 task 4 to the label files of sedtool.

    python recipes/dcase2017/prepare.py AUDIO METADATA OUT

AUDIO is a folder with the clips, at any depth, with or without a ``Y`` in front of their names and
of any format. METADATA is a folder with the organisers' ``groundtruth_*.csv``, at any depth. What
is made:

    OUT/labels/train_weak.tsv      clips to train with
    OUT/labels/held_out_weak.tsv   a fifth of the training clips: thresholds, best epoch
    OUT/labels/test_strong.tsv     the public test set, for nothing but the scores at the end
    OUT/labels/test_weak.tsv       its weak labels, which clip F1 is computed from
    OUT/labels/classes.txt         the 17 classes in the organisers' order
    OUT/lists/*.tsv                audio to compute features of, and to test with
    OUT/missing.tsv                clips that are not there or cannot be read, and why
    OUT/prepared.json              what all this was made of; the same call finds it made

Clips are named as in AUDIO. What is held out depends on the label files and the seed alone.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sedtool.atomic import write_text
from sedtool.errors import LabelError, SedtoolError
from sedtool.labels import StrongLabels, Vocabulary, read_events, write_events, write_weak
from sedtool.recipes.corpora import (
    AudioFolder,
    find_label_file,
    format_classes,
    format_summary,
    hold_out,
    seconds_of,
    write_missing,
    write_names,
)
from sedtool.recipes.prepared import Preparation, describe_files, describe_names

Weak = Mapping[str, Sequence[str]]  # clip -> labels

CLASSES = (
    *("Train horn", "Air horn, truck horn", "Car alarm", "Reversing beeps", "Bicycle"),
    *("Skateboard", "Ambulance (siren)", "Fire engine, fire truck (siren)"),
    *("Civil defense siren", "Police car (siren)", "Screaming", "Car", "Car passing by", "Bus"),
    *("Truck", "Motorcycle", "Train"),
)


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
    files = find_label_files(metadata)
    fixed = describe_files(files.values()) | {"seed": seed, "held-out": held_out}
    preparation = Preparation(out, fixed, describe_names(clips.paths))
    if preparation.is_done(overwrite):
        _say(f"{out} is prepared already")
        if preparation.audio_differs():
            _say(f"warning: {audio} has other files than then; the lists of {out} stay as they are")
        return
    training, test_strong, test_weak = read_labels(files)
    held = hold_out(training, held_out, seed)
    splits = {
        "test": test_strong.names,
        "held_out": [name for name in training if name in held],
        "train": [name for name in training if name not in held],
    }
    found, missing = clips.resolve(splits, {}, ["test"], _show_progress)
    clips.require_clips(found, missing)
    _say(format_summary(found, missing))
    weak = {
        split: {file: (test_weak if split == "test" else training)[name] for name, file in it}
        for split, it in ((split, names.items()) for split, names in found.items())
    }
    _say(format_classes(CLASSES, weak))

    preparation.begin("labels", "lists")
    for split, labels in weak.items():
        write_weak(out / "labels" / f"{split}_weak.tsv", labels)
    write_events(out / "labels" / "test_strong.tsv", test_strong.renamed(found["test"]))
    write_names(out / "lists" / "train.tsv", [*weak["train"], *weak["held_out"]])
    write_names(out / "lists" / "test.tsv", weak["test"])
    write_missing(out / "missing.tsv", missing)
    write_text(out / "labels" / "classes.txt", "".join(f"{label}\n" for label in CLASSES))
    preparation.finish()
    for features in ("features.h5", "test.h5"):
        if (out / features).exists():
            _say(f"{out / features} is of earlier lists; remove it unless they were the same")


def find_label_files(metadata: Path) -> dict[str, Path]:
    """Return the organisers' files by what they hold."""
    return {
        kind: find_label_file(metadata, f"groundtruth_{kind}_set.csv")
        for kind in ("weak_label_training", "strong_label_testing", "weak_label_testing")
    }


def read_labels(
    files: Mapping[str, Path],
) -> tuple[dict[str, tuple[str, ...]], StrongLabels, Weak]:
    """Read the labels of the training clips, and both kinds of labels of the test clips.

    The weak files have one label a row, after the times of the clip in its video, so they read as
    strong labels, and commas in names do no harm. An event of no length says that a label of the
    clip is not in it after all: the event is dropped, and its clip kept.

    Raises
    ------
    LabelError
        If a file is not what it should be: of another set, of other classes, or weak labels in
        place of strong ones.
    """
    labels = {kind: read_events(path) for kind, path in files.items()}
    for kind, found in labels.items():
        Vocabulary(CLASSES).require(found.classes, files[kind])
    strong, path = labels["strong_label_testing"], files["strong_label_testing"]
    for event in strong.events:
        if event.onset > seconds_of(event.name):
            raise LabelError(
                f"{path}: an event of {event.name} begins at {event.onset:g} s, after the end of "
                "the clip; are these the weak labels?"
            )
    events = [event for event in strong.events if event.offset > event.onset]
    _say(f"test: {len(strong.events) - len(events)} of {len(strong.events)} events have no length")
    weak = labels["weak_label_testing"].weak()
    if missing := [name for name in strong.names if name not in weak]:
        raise LabelError(
            f"{files['weak_label_testing']} misses {len(missing)} of the {len(strong.names)} clips "
            f"of {path.name}, such as {missing[0]}; is it of the same set?"
        )
    tested = {name: weak[name] for name in strong.names}
    return labels["weak_label_training"].weak(), StrongLabels(events, strong.names), tested


def _show_progress(done: int, total: int) -> None:
    if done % 5_000 == 0:
        _say(f"{done} of {total} files read")


def _say(text: str) -> None:
    if text:
        print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
