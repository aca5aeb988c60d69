"""Every command that writes files, on data so small that it takes a moment.

Lines name what they read in ``given/`` and what they write in ``out/``, seen from a folder of
their own.
Run as a program, this file makes what is given.
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

import sedtool.demo
from sedtool.checkpoint import digest, load_state
from sedtool.demo import TRAINING
from sedtool.labels import Event, StrongLabels, write_events
from support.command_lines import run as run_line
from support.command_lines import save_small_model
from support.forks import prepare
from support.training import Tiny

SMALL = "--arch nano --epochs 2 --steps-per-epoch 1 --batch-size 2 --device cpu --lr 3e-3"
LISTS = "--weak given/weak.tsv --val-strong given/strong.tsv"
SWEEP = "sweep given/sweep.yaml --data given -o out/runs --features features.h5"
BEFORE = ("e.tsv", "s.h5", "w.tsv", ".e.tsv.made")
UNFINISHED = (".tmp", ".lock", ".journal", ".spool")  # of files that no stage reads


@dataclass(frozen=True)
class Job:
    """A command line, and what its rerun and the next stage are."""

    line: str
    code: int = 0  # of a run to its end
    again: str = ""  # what the line of a rerun has more
    reader: str = ""  # the next stage, which takes what is whole and refuses what is not
    lacks: str = "\0"  # what that stage says on stdout where it leaves out what is not done
    brings: Mapping[str, str] = field(
        default_factory=dict
    )  # into out/, from given/; "" is a folder
    replaces: bool = True  # whether --overwrite replaces files that are of no use

    def words(self, *more: str) -> list[str]:
        return [*self.line.split(), "-q", *" ".join(more).split()]


TEACHER = "train -o out/run --features given/features.h5 --method mean-teacher --unlabelled "
TEACHER += f"given/names.txt --strong given/heard.tsv {LISTS} {SMALL} --batch-size 2,2,2"

JOBS = {
    "extract": Job(
        "extract given/audio -o out/f.h5", 3, reader="infer given/m.safetensors out/f.h5"
    ),
    "extract --update": Job(
        "extract given/audio -o out/f.h5 --update", 3, brings={"f.h5": "f-before.h5"},
        replaces=False,
    ),
    "train": Job(
        f"train -o out/run --features given/features.h5 {LISTS} {SMALL} --save-every 1e-9",
        again="--resume", replaces=False,
    ),
    "train mean-teacher": Job(
        f"{TEACHER} --save-every 1e-9 --keep-epochs 1", again="--resume", replaces=False
    ),
    "tune": Job(
        "tune out/m.safetensors --features given/features.h5 --reference given/strong.tsv",
        brings={"m.safetensors": "m.safetensors"}, replaces=False,
    ),
    "infer": Job(
        "infer given/m.safetensors given/audio -o out/e.tsv --scores out/s.h5 --weak out/w.tsv", 3,
        reader="evaluate given/e.tsv out/e.tsv --weak-estimated out/w.tsv",
    ),
    "infer --update": Job(
        "infer given/m.safetensors given/audio -o out/e.tsv --scores out/s.h5 --weak out/w.tsv "
        "--update", 3, replaces=False,
        brings={name: f"before/{name}" for name in BEFORE},
    ),
    "infer to a folder": Job(
        "infer given/m.safetensors given/audio -o out/lists/ --format audacity", 3,
        reader="convert out/lists --from audacity --to weak", brings={"lists": ""},
        replaces=False,
    ),
    "infer from scores": Job(
        "infer given/m.safetensors given/s.h5 -o out/e.tsv --weak out/w.tsv --scores out/s.h5",
        reader="evaluate given/e.tsv out/e.tsv --weak-estimated out/w.tsv",
    ),
    "evaluate": Job("evaluate given/strong.tsv given/strong.tsv -o out/m.json"),
    "merge features": Job(
        "merge given/f1.h5 given/f2.h5 -o out/f.h5",
        reader="infer given/m.safetensors out/f.h5",
    ),
    "merge whole files": Job(
        "merge given/f.h5 given/features.h5 -o out/f.h5 --union",
        reader="infer given/m.safetensors out/f.h5",
    ),
    "merge average": Job(
        "merge given/s.h5 given/again.h5 -o out/s.h5 --average",
        reader="evaluate given/strong.tsv out/s.h5",
    ),
    "merge events": Job(
        "merge given/e1.tsv given/e2.tsv -o out/e.tsv", reader="evaluate given/e.tsv out/e.tsv"
    ),
    "convert": Job(
        "convert given/strong.tsv --to weak -o out/w.tsv",
        reader="evaluate given/strong.tsv given/strong.tsv --weak-reference out/w.tsv",
    ),
    "convert to a folder": Job(
        "convert given/strong.tsv --to audacity -o out/lists/",
        reader="convert out/lists --from audacity --to weak", replaces=False,
    ),
    "convert scores": Job(
        "convert given/s.h5 -o out/scores/",
        reader="evaluate given/e.tsv out/scores --durations given/durations.tsv", replaces=False,
    ),
    "compare": Job(
        "compare given/runs --reference given/strong.tsv --resamples 20 -o out/a.md -o out/b.tex"
    ),
    "plot clip": Job("plot clip given/f.h5 given/s.h5 a.wav -o out/c.svg"),
    "plot frames": Job(
        "plot frames given/f.h5 a.wav --class tone --model given/m.safetensors -o out/f.svg"
    ),
    "plot durations": Job(
        "plot durations --data x=given/m.safetensors:given/strong.tsv -o out/d.svg"
    ),
    "plot gradients": Job("plot gradients --pooling linear -o out/g.svg"),
    "plot curves": Job("plot curves given/curves.tsv -o out/curves.png"),
    "plot pooling": Job("plot pooling given/m.safetensors -o out/p.pdf"),
    "sweep": Job(
        f"{SWEEP} --test features.h5 --test-reference strong.tsv --pooling max,power",
        reader="compare out/runs --resamples 20", lacks="\nnot in it:", replaces=False,
    ),
    "demo": Job("demo -o out/demo --device cpu --workers 1", replaces=False),
}  # fmt: skip

RECIPE = "train:\n  weak: weak.tsv\n  val-strong: strong.tsv\n  arch: nano\n"
RECIPE += "  epochs: 1\n  steps-per-epoch: 1\n  batch-size: 2\n"


def make_given(tiny: Tiny, folder: Path) -> Path:
    """Make what the lines of the jobs read."""
    given = folder / "given"
    (given / "audio" / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.wav", "sub/b.wav", "c.flac")):
        wave = np.random.default_rng(i).uniform(-0.3, 0.3, 9_000 + 3_000 * i)
        soundfile.write(given / "audio" / name, wave, 16_000)
    (given / "audio" / "bad.wav").write_bytes(b"")
    shutil.copytree(tiny.audio / "val", given / "clips")
    for path in (tiny.features, tiny.weak, tiny.strong):
        shutil.copy(path, given / path.name)
    names = [row.split("\t")[0] for row in tiny.weak.read_text().splitlines()[1:7]]
    (given / "names.txt").write_text("".join(f"{name}\n" for name in names))
    heard = [Event(name, 0.2, 0.7, ("tone", "noise")["noise" in name]) for name in names]
    write_events(given / "heard.tsv", StrongLabels(heard, tuple(names)))
    durations = "filename\tduration\na.wav\t1\nsub/b.wav\t1\nc.flac\t1\n"
    (given / "durations.tsv").write_text(durations)
    (given / "curves.tsv").write_text("epoch\tloss\n1\t0.5\n2\t0.25\n")
    (given / "sweep.yaml").write_text(RECIPE)
    line = ("extract", given / "audio" / "a.wav", given / "audio" / "sub" / "b.wav", "-q")
    run_line(*line, "--root", given / "audio", "-o", given / "f-before.h5")
    model = save_small_model(given / "m.safetensors")
    (given / "before").mkdir()
    line = ("infer", model, *line[1:], "-o", given / "before" / "e.tsv", "--root", given / "audio")
    run_line(*line, "--scores", given / "before" / "s.h5", "--weak", given / "before" / "w.tsv")
    for part in ("", 1, 2):
        shard = ["--shard", f"{part}/2"] if part else []
        audio = given / "audio"
        run_line("extract", audio, "-o", given / f"f{part}.h5", *shard, "-q", exit_code=_code(part))
        outputs = ("-o", given / f"e{part}.tsv", "--scores", given / f"s{part}.h5")
        run_line("infer", model, audio, *outputs, *shard, "-q", exit_code=_code(part))
    shutil.copy(given / "s.h5", given / "again.h5")
    sweep = ("sweep", given / "sweep.yaml", "--data", given, "-o", given / "runs", "-q")
    test = ("--features", "features.h5", "--test", "features.h5", "--test-reference", "strong.tsv")
    run_line(*sweep, *test, "--pooling", "max,linear", "--device", "cpu")
    return given


def _code(part: int | str) -> int:
    """Return the exit code where the bad file is in the whole, or in the second part."""
    return 3 if part in ("", 2) else 0


def shorten_demo() -> None:
    """Let the demo take seconds: few clips, a small network."""
    sedtool.demo.SIZES = {"train": 4, "validation": 2, "test": 2}
    sedtool.demo.TRAINING = dataclasses.replace(
        TRAINING, arch="nano", epochs=1, steps_per_epoch=1, batch_size=(2,)
    )


def fresh_case(job: Job, given: Path, folder: Path) -> Path:
    """Make the folder of one try: what is given, and an empty place for what is written."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    (folder / "given").symlink_to(given)
    for name, source in job.brings.items():
        place = folder / "out" / name
        shutil.copy(given / source, place) if source else place.mkdir()
    return folder


def results(folder: Path) -> dict[str, object]:
    """Return the files in out/ by name, and of each what equal runs have in common."""
    out, found = folder / "out", {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        found[path.relative_to(out).as_posix()] = _common(path)
    return found


def finished(found: Mapping[str, object]) -> dict[str, object]:
    """Return what stages read, of what was found."""
    return {name: content for name, content in found.items() if not name.endswith(UNFINISHED)}


def _common(path: Path) -> object:
    if path.name in ("run.json", "sweep.log"):  # they have clocks in them, and tell of sessions
        return "there"
    return digest(load_state(path)) if path.suffix == ".pt" else path.read_bytes()


def tiny_of(text: str) -> Tiny:
    return Tiny(**{name: Path(path) for name, path in json.loads(text).items()})


def text_of(tiny: Tiny) -> str:
    return json.dumps({name: str(path) for name, path in vars(tiny).items()})


if __name__ == "__main__":
    prepare()
    print(json.dumps(str(make_given(tiny_of(sys.argv[1]), Path(sys.argv[2])))))
