"""Every command line of the documents runs as typed, in order, in a folder with what it needs.

A line is one of an indented or `sh` block, or stands in backticks and has an argument; words in
capitals there stand for something. Settings that make runs short come from the environment.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedtool.audio import write_wav
from support.audio import RATE
from support.esc10 import make_esc10
from support.recipes import make_2017, make_2019
from support.warm import warm_sedtool

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("README.md", "docs/*.md", "recipes/*/README.md")
    for path in sorted(REPOSITORY.glob(pattern))
]
PROGRAMS = (
    "sedtool",
    "sbatch",
    "mkdir",
    "python",
    "find",
    "ffmpeg",
    "recipes/",
    "PARTS=",
    "AUDIO=",
)
MEANT = {"MODEL": "m.safetensors", "FOLDER": "folder/", "FILE": "features.h5", "COMMAND": "extract"}
# Short runs of whatever is typed. Decoding finds events in every clip, trained or not.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "SEDTOOL_TRAIN_ARCH": "small",
    "SEDTOOL_TRAIN_EPOCHS": "1",
    "SEDTOOL_TRAIN_STEPS_PER_EPOCH": "1",
    "SEDTOOL_SWEEP_POOLING": "linear,power",
    "SEDTOOL_SWEEP_SEEDS": "0",
    "PREPARE_OPTIONS": "--train 8 --validation 4 --test 20",  # of the recipe of ESC-10
    "SEDTOOL_INFER_THRESHOLD": "0.001",
    "SEDTOOL_INFER_CLIP_THRESHOLD": "off",
    "SEDTOOL_COMPARE_RESAMPLES": "20",
}
OF_OTHERS = {*filter(re.compile("SEDTOOL_(TRAIN|SWEEP)|PREPARE").match, ENVIRONMENT)}
STAND_INS = {
    "python": 'exec "{python}" "$@"',
    # An array one task after the other; other jobs at once.
    "sbatch": """
array=1 script=
while [ $# -gt 0 ]; do
    case $1 in
    --array=*) array=${1#--array=} ;;
    --wrap) script=$2; shift ;;
    -*) ;;
    *) break ;;
    esac
    shift
done
export SLURM_CPUS_PER_TASK=1 SLURM_ARRAY_JOB_ID=7 SLURM_JOB_ID=7 SLURM_ARRAY_TASK_STEP=1
export SLURM_ARRAY_TASK_MIN=${array%-*} SLURM_ARRAY_TASK_MAX=${array#*-}
export SLURM_ARRAY_TASK_COUNT=$((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN + 1))
for SLURM_ARRAY_TASK_ID in $(seq "$SLURM_ARRAY_TASK_MIN" "$SLURM_ARRAY_TASK_MAX"); do
    export SLURM_ARRAY_TASK_ID
    if [ -n "$script" ]; then sh -c "$script" >&2; else bash "$@" >&2; fi || exit
done
echo 7
""",
    "srun": 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
    "scontrol": "exit 1",
    "ffmpeg": "cat film.wav",
}
ABSENT = {"jq": "cat"}  # stand-ins where the program itself is not installed


def lines_of(document: str) -> Iterator[str]:
    """Yield the command lines of a document in order, without their comments."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    for part in re.finditer(
        r"^```(?P<language>.*)\n(?P<fenced>(?:.*\n)*?)```$"
        r"|(?P<indented>(?:^    \S.*\n(?:^     +.*\n)*)+)|`(?P<inline>[^`]+)`",
        text,
        re.MULTILINE,
    ):
        if part["inline"]:
            line = " ".join(part["inline"].split())
            is_typed = line.startswith("sedtool ") and len(line.split()) > 2 and "..." not in line
            if is_typed and not document.startswith("docs/"):  # which only mention commands
                yield re.sub(r"\b[A-Z]{4,}\b", lambda word: MEANT[word[0]], line)
        elif part["indented"]:
            block = re.sub(r"\\\n\s*", "", part["indented"])
            for line in (line.strip() for line in block.splitlines()):
                if line.startswith(PROGRAMS):
                    yield re.sub(r"\s+#.*", "", line)


def make_clips(folder: Path, names: str, seed: int) -> dict[str, tuple[str, float, float]]:
    """Write clips of a second with an event each; return its class, onset and offset by name."""
    rng, events = np.random.default_rng(seed), {}
    for place, name in enumerate(names):
        label, onset = ("Cat", "Dog", "Rain")[place % 3], 0.1 + 0.02 * place
        offset = onset + (0.2, 0.3, 0.4)[place % 3]
        wave = 0.001 * rng.standard_normal(RATE)
        span = slice(int(onset * RATE), int(offset * RATE))
        wave[span] += 0.2 * rng.standard_normal(span.stop - span.start)
        folder.mkdir(exist_ok=True)
        write_wav(folder / f"{name}.wav", wave, RATE)
        events[f"{name}.wav"] = label, onset, offset
    return events


def write_labels(folder: Path, events: dict, weak: dict[str, str], strong: dict[str, str]) -> None:
    """Write label files of some of the clips; `weak` and `strong` say which, by file name."""
    for file, names in weak.items():
        rows = [f"{name}.wav\t{events[f'{name}.wav'][0]}\n" for name in names]
        (folder / file).write_text("filename\tevent_labels\n" + "".join(rows))
    for file, names in strong.items():
        rows = []
        for name in names:
            label, onset, offset = events[f"{name}.wav"]
            rows.append(f"{name}.wav\t{onset:.3f}\t{offset:.3f}\t{label}\n")
        (folder / file).write_text("filename\tonset\toffset\tevent_label\n" + "".join(rows))


def prepare_readme(folder: Path, run: Callable[[str], None]) -> None:
    known = make_clips(folder / "recordings", "abcdefghijklmnopqr", 0)
    new = make_clips(folder / "new", "astuvwxyz", 1)
    of_val = {"validation.tsv": "jklmnopqr", "val.tsv": "jklmnopqr", "strong.tsv": "jklmnopqr"}
    write_labels(folder, known, {"train.tsv": "abcdefghi", "weak.tsv": "abc"}, of_val)
    write_labels(folder, known, {}, {"synthetic.tsv": "ghi"})
    write_labels(folder, new, {}, {"other.tsv": "astuvwxyz", "test.tsv": "astuvwxyz"})
    (folder / "others.tsv").write_text("filename\nd.wav\ne.wav\nf.wav\n")
    for source in ("new", "recordings"):  # new ones are not replaced
        shutil.copytree(folder / source, folder / "audio", dirs_exist_ok=True)
    shutil.copytree(folder / "new", folder / "rec" / "sub")
    for day, source in {"monday": "new", "tuesday": "recordings"}.items():
        shutil.copytree(folder / source, folder / "days" / day)
    for path in sorted((folder / "new").iterdir())[:3]:
        soundfile.write(folder / "rec" / f"{path.stem}.flac", *soundfile.read(path))
    shutil.copy(folder / "new" / "a.wav", folder / "film.wav")
    (folder / "recipe.yaml").write_text(
        "train: {weak: train.tsv, val-strong: validation.tsv, arch: small}\n"
    )
    run("sedtool extract new -o test.h5 && cp test.h5 other.h5")
    run(
        "sedtool sweep recipe.yaml --data . -o runs --pooling linear,power --seeds 0 "
        "--audio recordings --test test.h5 --test-reference test.tsv"
    )
    (folder / "features.h5").unlink()  # which the reader is about to make
    for pooling in ("linear", "power"):
        model = folder / "runs" / pooling / "seed-0" / "model.safetensors"
        (folder / pooling / "epochs").mkdir(parents=True)
        shutil.copy(model, folder / pooling / "epochs" / "040.safetensors")
        shutil.copy(model, folder / "m.safetensors")
    make_esc10(folder / "ESC-10-master")
    run(
        f"python recipes/esc10/prepare.py ESC-10-master esc10/data {ENVIRONMENT['PREPARE_OPTIONS']}"
    )


def use_events(folder: Path) -> None:
    """Take what was detected for the reference, and for the output of two systems."""
    header, *rows = (folder / "events.tsv").read_text().splitlines(keepends=True)
    for name, kept in (("reference", rows), ("new", rows), ("old", rows[1:])):
        (folder / f"{name}.tsv").write_text(header + "".join(kept))
    groups = "".join(f"{name}.wav\tg{place % 3}\n" for place, name in enumerate("astuvwxyz"))
    (folder / "recordings.tsv").write_text("filename\tgroup\n" + groups)


def prepare_dcase(year: int) -> Callable[[Path, Callable[[str], None]], None]:
    def prepare(folder: Path, run: Callable[[str], None]) -> None:
        audio, metadata, _ = (make_2017 if year == 2017 else make_2019)(folder)
        audio.rename(folder / "AUDIO")
        metadata.rename(folder / "METADATA")

    return prepare


def prepare_esc10(folder: Path, run: Callable[[str], None]) -> None:
    make_esc10(folder / "ESC-10-master")


def prepare_slurm(folder: Path, run: Callable[[str], None]) -> None:
    names = "abcdefghijkl"
    known = make_clips(folder / "audio", names, 0)
    write_labels(folder, known, {"train.tsv": names}, {"strong.tsv": names})
    make_clips(folder / "new", names, 1)
    (folder / "recipe.yaml").write_text(
        "train: {weak: train.tsv, arch: small}\n"
        "sweep: {audio: [audio], test: audio, test-reference: strong.tsv}\n"
    )


def prepare_plugins(folder: Path, run: Callable[[str], None]) -> None:
    page = (REPOSITORY / "docs/plugins.md").read_text(encoding="utf-8")
    (folder / "my_plugin.py").write_text(re.search(r"```python\n(.*?)```", page, re.S)[1])
    known = make_clips(folder / "recordings", "abcdefghi", 0)
    make_clips(folder / "new", "stu", 1)
    write_labels(folder, known, {"train.tsv": "abcdefghi"}, {})
    run("sedtool extract recordings -o features.h5")


def prepare_short_sounds(folder: Path, run: Callable[[str], None]) -> None:
    known = make_clips(folder / "recordings", "abcdefghijklmnopqr", 0)
    make_clips(folder / "new", "astuvwxyz", 1)
    write_labels(folder, known, {"train.tsv": "abcdefghi"}, {"validation.tsv": "jklmnopqr"})
    (folder / "benchmarks").symlink_to(REPOSITORY / "benchmarks")


def prepare_training(folder: Path, run: Callable[[str], None]) -> None:
    known = make_clips(folder / "recordings", "abcdefghijklmnopqr", 0)
    write_labels(folder, known, {"weak.tsv": "abcdef"}, {"validation.tsv": "jklmnopqr"})
    run("sedtool extract recordings -o features.h5")
    (folder / "segments").mkdir()
    for name in "abcdefgh":
        rows = "0\t0.5\tCat\t0.2\n0\t0.5\tDog\t0.9\n0.5\t1\tCat\t0.6\n"
        text = "onset\toffset\tevent_label\tconfidence\n" + rows
        (folder / "segments" / f"{name}.txt").write_text(text)


PREPARE = {
    "README.md": prepare_readme,
    "docs/plugins.md": prepare_plugins,
    "docs/short-sounds.md": prepare_short_sounds,
    "docs/training.md": prepare_training,
    "recipes/dcase2017/README.md": prepare_dcase(2017),
    "recipes/dcase2019/README.md": prepare_dcase(2019),
    "recipes/esc10/README.md": prepare_esc10,
    "recipes/slurm/README.md": prepare_slurm,
}
# What is done after a line that begins so, by the names of what the reader would have.
AFTER = {"sedtool infer run new/": use_events}
# What is typed otherwise here, where there is no GPU, no time for 55 runs, and few clips.
INSTEAD = {
    " --device cuda": " --dry-run",
    " --seeds 0-4": " --seeds 0-1",
    "test_0208": "test_0001",
    "short_events.py syllables": "short_events.py --help",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("bin") / "sedtool"
    with warm_sedtool(path):
        yield path


@pytest.fixture
def run(program, tmp_path, request):
    """Return what runs a line in the folder `tmp_path`, with stand-ins for other programs."""
    programs = tmp_path / ".bin"
    programs.mkdir()
    absent = {name: text for name, text in ABSENT.items() if shutil.which(name) is None}
    for name, text in (STAND_INS | absent).items():
        path = programs / name
        path.write_text("#!/bin/bash\n" + text.replace("{python}", sys.executable) + "\n")
        path.chmod(0o755)
    (tmp_path / "recipes").symlink_to(REPOSITORY / "recipes")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | ENVIRONMENT | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}
    if "dcase" in request.node.name:  # their lines say how short a trial is
        environment = {k: v for k, v in environment.items() if k not in OF_OTHERS}

    def run(line: str) -> None:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"

    (programs / "sedtool").symlink_to(program)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("document", PREPARE)
def test_every_line_runs_as_it_is_typed(document, run, tmp_path):
    PREPARE[document](tmp_path, run)
    for line in dict.fromkeys(lines_of(document)):
        for typed, instead in INSTEAD.items():
            line = line.replace(typed, instead)
        run(line)
        for beginning, after in AFTER.items():
            if line.startswith(beginning):
                after(tmp_path)


def test_targets_and_extras_that_the_documents_name_are_there():
    text = "".join((REPOSITORY / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    targets = set(re.findall(r"^    make (\w+)", text, re.MULTILINE))
    assert {"demo", "quick", "test"} <= targets
    makefile = (REPOSITORY / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    extras = set(re.findall(r"pip install '(?:\.|sedtool)\[(\w+)\]'", text))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {"plot"} <= extras <= set(project["optional-dependencies"])


def test_no_document_with_command_lines_is_left_out():
    others = [document for document in DOCUMENTS if document not in PREPARE]
    assert [(document, line) for document in others for line in lines_of(document)] == []
