"""Make ten-second soundscapes from ESC-10: weak labels to train with, strong ones to test with.

    python recipes/esc10/prepare.py ESC10_FOLDER OUT_FOLDER

ESC10_FOLDER is the unpacked data set: ten folders such as ``001 - Dog bark``, in each forty files
``fold-recording-take.ogg``. Training clips are made from folds 1 to 3, validation clips from fold
4, test clips from fold 5. Each holds one to four events, 0 to 25 dB above shaped noise, and one
long event at most: under a loud downpour a faint helicopter would be labelled but inaudible.

What an event is depends on the class:

- dog bark, baby cry, sneeze, rooster: a burst of energy; bursts closer than 0.25 s are one;
- clock tick: a train of ticks, 2 to 5 s, from the start of its first to the end of its last;
- rain, sea waves, helicopter, chainsaw, fire: 3 to 10 s, looped where the recording is shorter.

``labels/mean_teacher`` has lists of the same clips for a mean teacher: a fifth with weak labels, a
fifth with strong ones, the rest without any.

The ends of an event that the background would drown are cut off, so that labels are true.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, sosfiltfilt

from sedtool.atomic import write_text
from sedtool.audio import read
from sedtool.errors import (
    AudioError,
    ConfigError,
    InputsFailedError,
    NothingUsableError,
    SedtoolError,
)
from sedtool.labels import StrongLabels, write_events, write_weak
from sedtool.recipes.prepared import Preparation, describe_names
from sedtool.recipes.soundscapes import (
    Soundscape,
    Source,
    active_spans,
    clip_generator,
    compose,
    loop,
    noise,
    trim,
    write_dataset,
)

Wave = npt.NDArray[np.float64]
Parts = dict[str, list[list[Wave]]]  # label -> for each file the parts that events are made of

SAMPLE_RATE = 16_000  # Hz
DURATION = 10.0  # seconds
FOLDS = {"train": (1, 2, 3), "validation": (4,), "test": (5,)}
FILES_A_FOLD = 8  # of each class
SNRS = (0.0, 25.0)  # dB
NOISE_LEVELS = (-46.0, -34.0)  # dB of full scale
MOST_EVENTS = 4  # in a clip
MOST_TEXTURES = 1  # in a clip

RUMBLE = 100.0  # Hz: what is below is mostly wind in the microphone, and would pass for energy
CREST = 10.0  # dB from an event's level to its loudest moment, about
FADE = 0.005  # seconds at both ends of an event, so that the cut does not click
FLOOR = -20.0  # dB below the loudest moment of a file: what is weaker is no event
MARGIN = 6.0  # dB that a burst or a tick stands out of the noise in its file at least
MOMENT = 0.01  # seconds
BURST_GAP = 0.25  # seconds: bursts closer than this are one
SHORTEST_BURST = 0.15  # seconds
TICK_ECHO = 0.05  # seconds: energy closer than this is of one tick
TICK_GAP = 1.2  # seconds: ticks closer than this are of one train
TRAIN_LENGTHS = (2.0, 5.0)  # seconds
TEXTURE_FLOOR = -15.0  # dB
TEXTURE_WINDOW = 0.25  # seconds to average over, since a texture is made of many short sounds
TEXTURE_GAP = 0.5  # seconds: a lull shorter than this belongs to a texture
SHORTEST_TEXTURE = 1.0  # seconds; shorter ones would loop audibly
TEXTURE_LENGTHS = (3.0, 10.0)  # seconds


@dataclass(frozen=True)
class SourceFile:
    """One file of ESC-10."""

    path: Path
    label: str
    fold: int
    recording: str  # Freesound's number, which all takes of one recording share


@dataclass(frozen=True)
class Kind:
    """How events of a class are made."""

    cut: Callable[[Wave], list[Wave]]  # a file -> its parts
    draw: Callable[[np.random.Generator, Wave], Wave]  # a part -> one event


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("esc10", type=Path, metavar="ESC10_FOLDER")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--seed", type=_natural, default=0)
    parser.add_argument("--train", type=_natural, default=1000, metavar="CLIPS")
    parser.add_argument("--validation", type=_natural, default=250, metavar="CLIPS")
    parser.add_argument("--test", type=_natural, default=250, metavar="CLIPS")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished data set")
    options = parser.parse_args(arguments)
    sizes = {split: getattr(options, split) for split in FOLDS}
    try:
        return prepare(options.esc10, options.out, options.seed, sizes, options.overwrite)
    except SedtoolError as error:
        _say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("stopped; run the same line again")
        return 130


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number


def prepare(
    esc10: Path, out: Path, seed: int, sizes: dict[str, int], overwrite: bool = False
) -> int:
    """Make the data set and say what it is; return the exit status."""
    files = find_files(esc10)
    names = describe_names(str(file.path.relative_to(esc10)) for file in files)
    preparation = Preparation(out, {"recordings": names, "seed": seed} | sizes)
    if preparation.is_done(overwrite):
        _say(f"{out} is prepared already")
        return 0
    recordings = count_recordings(files)
    counts = ", ".join(f"{count} in {split}" for split, count in recordings.items())
    _say(f"recordings: {counts}, none in two splits")
    parts, n_unreadable = read_parts(files)
    preparation.begin()
    labels = write_dataset(
        out,
        sorted(KINDS),
        sizes,
        lambda split, index: make_clip(seed, split, index, parts[split]),
        prefix="esc10_",
        overwrite=True,
        progress=_show_progress,
    )
    write_shares(out / "labels" / "mean_teacher", labels["train"])
    preparation.finish()
    for split, strong in labels.items():
        _say(format_summary(split, strong))
    if n_unreadable:
        _say(f"made without {n_unreadable} of {len(files)} files, which are unreadable (see above)")
        return InputsFailedError.exit_code
    return 0


def write_shares(folder: Path, train: StrongLabels) -> None:
    """Write lists for a mean teacher: the labels it would have of each of the training clips.

    Of a fifth the classes, of another fifth the events, of the rest nothing. All are soundscapes of
    the same kind; in DCASE 2019 task 4 the clips with events are synthetic, and the others real.
    """
    n_labelled = len(train.names) // 5
    weak, last = set(train.names[:n_labelled]), set(train.names[len(train.names) - n_labelled :])
    folder.mkdir(exist_ok=True)
    labels = train.weak()
    write_weak(folder / "weak.tsv", {name: labels[name] for name in train.names if name in weak})
    write_events(folder / "strong.tsv", train.renamed({name: name for name in last}))
    others = [name for name in train.names if name not in weak | last]
    write_text(folder / "unlabelled.tsv", "\n".join(["filename", *others]) + "\n")


def find_files(esc10: Path) -> list[SourceFile]:
    """List the files of the data set, and say which folds of which classes are not complete.

    Raises
    ------
    NothingUsableError
        If there are none.
    """
    folds = [fold for folds in FOLDS.values() for fold in folds]
    files: list[SourceFile] = []
    for path in sorted(esc10.glob("* - */*-*-*.*")):
        label = path.parent.name.partition(" - ")[2].lower().replace(" ", "_")
        number, recording, _ = path.stem.split("-", 2)
        if label in KINDS and number in map(str, folds):
            files.append(SourceFile(path, label, int(number), recording))
    if not files:
        raise NothingUsableError(f"{esc10} has no files such as '001 - Dog bark/1-100032-A.ogg'")
    found = Counter((file.label, file.fold) for file in files)
    for label, fold in itertools.product(KINDS, folds):
        if found[label, fold] < FILES_A_FOLD:
            _say(
                f"missing: {label} has {found[label, fold]} of {FILES_A_FOLD} files in fold {fold}"
            )
    return files


def count_recordings(files: Iterable[SourceFile]) -> Counter[str]:
    """Return the number of recordings in each split, once none is found to be in two of them.

    Raises
    ------
    ConfigError
        If takes of one recording are in the folds of two splits.
    """
    owners: dict[str, str] = {}
    for file in files:
        split = _split_of(file.fold)
        if owners.setdefault(file.recording, split) != split:
            raise ConfigError(
                f"{file.path}: recording {file.recording} is in the folds of {split} and of "
                f"{owners[file.recording]}; is this ESC-10 as published?"
            )
    return Counter(owners.values())


def _split_of(fold: int) -> str:
    return next(split for split, folds in FOLDS.items() if fold in folds)


def read_parts(files: Iterable[SourceFile]) -> tuple[dict[str, Parts], int]:
    """Read and cut all files; return the parts by split and class, and how many files failed.

    Raises
    ------
    NothingUsableError
        If a class has no usable file in a split.
    """
    parts: dict[str, Parts] = {split: {label: [] for label in KINDS} for split in FOLDS}
    n_unreadable = 0
    for file in files:
        try:
            wave = _without_rumble(read(file.path, SAMPLE_RATE).astype(np.float64))
        except AudioError as error:
            n_unreadable += 1
            _say(f"unreadable: {error}")
            continue
        cut = KINDS[file.label].cut(wave)
        if cut:
            parts[_split_of(file.fold)][file.label].append(cut)
        else:
            _say(f"not used: {file.path}: nothing stands out of it for long enough")
    for split, by_label in parts.items():
        for label, usable in by_label.items():
            if not usable:
                folds = " and ".join(map(str, FOLDS[split]))
                raise NothingUsableError(
                    f"no file of {label} in fold {folds} can be used, so {split} cannot be made"
                )
    return parts, n_unreadable


def _without_rumble(wave: Wave) -> Wave:
    highpass = butter(4, RUMBLE, "highpass", fs=SAMPLE_RATE, output="sos")
    return np.ascontiguousarray(sosfiltfilt(highpass, wave))


def cut_bursts(wave: Wave) -> list[Wave]:
    """Return the bursts of energy in a recording, each cut to its own loud part."""
    spans = active_spans(wave, SAMPLE_RATE, _event_floor(wave), BURST_GAP)
    bursts = [wave[start:stop] for start, stop in spans]
    return [burst for burst in bursts if len(burst) >= SHORTEST_BURST * SAMPLE_RATE]


def cut_trains(wave: Wave) -> list[Wave]:
    """Return the parts of a recording in which ticks follow one another."""
    spans = active_spans(wave, SAMPLE_RATE, _event_floor(wave), TICK_GAP)
    trains = [wave[start:stop] for start, stop in spans]
    return [train for train in trains if len(train) >= TRAIN_LENGTHS[0] * SAMPLE_RATE]


def cut_textures(wave: Wave) -> list[Wave]:
    """Return the parts of a recording in which a texture goes on without a lull."""
    spans = active_spans(wave, SAMPLE_RATE, TEXTURE_FLOOR, TEXTURE_GAP, TEXTURE_WINDOW)
    textures = [wave[start:stop] for start, stop in spans]
    return [texture for texture in textures if len(texture) >= SHORTEST_TEXTURE * SAMPLE_RATE]


def _event_floor(wave: Wave) -> float:
    """Return how far below the loudest moment of a recording, in dB, its events end.

    Its quietest tenth is taken to be its noise.
    """
    size = round(MOMENT * SAMPLE_RATE)
    power = (wave[: len(wave) // size * size].reshape(-1, size) ** 2).mean(axis=1)
    if not power.any():
        return FLOOR
    quiet = max(np.percentile(power, 10) / power.max(), 1e-12)  # padded with digital silence: 0
    return max(FLOOR, 10 * float(np.log10(quiet)) + MARGIN)


def draw_burst(rng: np.random.Generator, part: Wave) -> Wave:
    """Return the burst as it is."""
    return part


def draw_train(rng: np.random.Generator, part: Wave) -> Wave:
    """Return successive ticks of a train, from the start of one to the end of another."""
    length = rng.uniform(*TRAIN_LENGTHS) * SAMPLE_RATE
    ticks = active_spans(part, SAMPLE_RATE, _event_floor(part), TICK_ECHO)
    starts = [start for start, _ in ticks if start + length <= len(part)]
    start = int(rng.choice(starts or [ticks[0][0]]))
    stop = min((stop for _, stop in ticks if stop - start >= length), default=ticks[-1][1])
    return part[start:stop]


def draw_texture(rng: np.random.Generator, part: Wave) -> Wave:
    """Return an excerpt of a texture, looped if need be, that starts and ends loud."""
    length = round(rng.uniform(*TEXTURE_LENGTHS) * SAMPLE_RATE)
    start = rng.integers(max(len(part) - length, 0) + 1)
    excerpt = loop(part, length, SAMPLE_RATE) if len(part) < length else part[start:][:length]
    return trim(excerpt, SAMPLE_RATE, TEXTURE_FLOOR, TEXTURE_WINDOW)


def make_clip(seed: int, split: str, index: int, parts: Parts) -> Soundscape:
    """Return one soundscape made of the parts of its split."""
    rng = clip_generator(seed, split, index)
    level = 10 ** (rng.uniform(*NOISE_LEVELS) / 20)
    background = level * noise(rng, round(DURATION * SAMPLE_RATE), SAMPLE_RATE)
    sources: list[Source] = []
    for label in _draw_labels(rng):
        file = parts[label][rng.integers(len(parts[label]))]
        event = KINDS[label].draw(rng, file[rng.integers(len(file))])
        snr = rng.uniform(*SNRS)
        sources.append(Source(label, _audible(event, snr), snr))
    return compose(rng, background, sources, SAMPLE_RATE)


def _draw_labels(rng: np.random.Generator) -> list[str]:
    drawn = rng.choice(sorted(KINDS), rng.integers(1, MOST_EVENTS + 1)).tolist()
    textures = [label for label in drawn if KINDS[label] is TEXTURES]
    return textures[:MOST_TEXTURES] + [label for label in drawn if label not in textures]


def _audible(event: Wave, snr: float) -> Wave:
    """Cut the ends of an event that its background would drown, and fade what is left."""
    audible = trim(event, SAMPLE_RATE, max(FLOOR, -(snr + CREST)))
    ends = np.minimum(np.arange(len(audible)), np.arange(len(audible))[::-1]) + 1
    return audible * np.minimum(ends / (FADE * SAMPLE_RATE), 1.0)


def format_summary(split: str, labels: StrongLabels) -> str:
    """Return how many clips and events a split has, and how long they are, as a table."""
    lines = [f"{split}: {len(labels.names)} clips, {len(labels.events)} events"]
    for label in sorted(KINDS):
        lengths = [event.offset - event.onset for event in labels.events if event.label == label]
        mean = f"{np.mean(lengths):.2f} s on average" if lengths else ""
        lines.append(f"  {label:<16}{len(lengths):>5} events  {mean}".rstrip())
    return "\n".join(lines)


def _show_progress(done: int, total: int, name: str) -> None:
    if done % 100 == 0 or done == total:
        _say(f"{done} of {total} clips")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


BURSTS = Kind(cut_bursts, draw_burst)
TRAINS = Kind(cut_trains, draw_train)
TEXTURES = Kind(cut_textures, draw_texture)

KINDS: dict[str, Kind] = {
    "baby_cry": BURSTS,
    "chainsaw": TEXTURES,
    "clock_tick": TRAINS,
    "dog_bark": BURSTS,
    "fire_crackling": TEXTURES,
    "helicopter": TEXTURES,
    "person_sneeze": BURSTS,
    "rain": TEXTURES,
    "rooster": BURSTS,
    "sea_waves": TEXTURES,
}

if __name__ == "__main__":
    sys.exit(main())
