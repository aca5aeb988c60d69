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

Clips are named as in AUDIO. What is held out depends on the label files and the seed alone.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sedtool.atomic import refuse_existing, resource_errors, write_text
from sedtool.corpora import (
    AudioFolder,
    find_label_file,
    format_classes,
    format_summary,
    hold_out,
    write_missing,
    write_names,
)
from sedtool.errors import SedtoolError
from sedtool.labels import StrongLabels, Vocabulary, read_events, write_events, write_weak

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
    return 0


def prepare(
    audio: Path, metadata: Path, out: Path, seed: int, held_out: float, overwrite: bool
) -> None:
    """Write the label files, and say what they hold and what is missing."""
    class_list = out / "labels" / "classes.txt"  # written last: what has one is whole
    refuse_existing(class_list, overwrite)
    training, test_strong, test_weak = read_labels(metadata)
    held = hold_out(training, held_out, seed)
    splits = {
        "test": test_strong.names,
        "held_out": [name for name in training if name in held],
        "train": [name for name in training if name not in held],
    }
    found, missing = AudioFolder(audio).resolve(splits, {}, ["test"], _show_progress)
    _say(format_summary(found, missing))
    weak = {
        split: {file: (test_weak if split == "test" else training)[name] for name, file in it}
        for split, it in ((split, clips.items()) for split, clips in found.items())
    }
    _say(format_classes(CLASSES, weak))

    for folder in (out / "labels", out / "lists"):
        with resource_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    class_list.unlink(missing_ok=True)
    for split, labels in weak.items():
        write_weak(out / "labels" / f"{split}_weak.tsv", labels)
    write_events(out / "labels" / "test_strong.tsv", test_strong.renamed(found["test"]))
    write_names(out / "lists" / "train.tsv", [*weak["train"], *weak["held_out"]])
    write_names(out / "lists" / "test.tsv", weak["test"])
    write_missing(out / "missing.tsv", missing)
    write_text(class_list, "".join(f"{label}\n" for label in CLASSES))
    for features in ("features.h5", "test.h5"):
        if (out / features).exists():
            _say(f"{out / features} is of earlier lists; remove it unless they were the same")


def read_labels(metadata: Path) -> tuple[dict[str, tuple[str, ...]], StrongLabels, Weak]:
    """Read the labels of the training clips, and both kinds of labels of the test clips.

    The weak files have one label a row, after the times of the clip in its video, so they read as
    strong labels, and commas in names do no harm. An event of no length says that a label of the
    clip was not heard in it: the event is dropped, and its clip kept.
    """
    files = {
        kind: read_events(find_label_file(metadata, f"groundtruth_{kind}_set.csv"))
        for kind in ("weak_label_training", "strong_label_testing", "weak_label_testing")
    }
    for kind, labels in files.items():
        Vocabulary(CLASSES).require(labels.classes, metadata / f"groundtruth_{kind}_set.csv")
    strong = files["strong_label_testing"]
    heard = [event for event in strong.events if event.offset > event.onset]
    _say(f"test: {len(strong.events) - len(heard)} of {len(strong.events)} events have no length")
    weak = files["weak_label_testing"].weak()
    weak = {name: weak.get(name, ()) for name in strong.names}
    return files["weak_label_training"].weak(), StrongLabels(heard, strong.names), weak


def _show_progress(done: int, total: int) -> None:
    if done % 5_000 == 0:
        _say(f"{done} of {total} files read")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
