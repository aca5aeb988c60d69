"""The folders of runs and of sweeps: every file in them, how it is read, and what is the same job.

A run folder holds::

    config.yaml         every setting, resolved: `train -c config.yaml -o OTHER` repeats it
    run.json            command, versions, digests of inputs; written first, closed at the end
    metrics.tsv         a row an epoch, without a clock: equal runs are equal files
    trained_on.tsv      the names of the training clips
    held_out.tsv        weak labels of the training clips that were held out for validation, if any;
                        held_out_strong.tsv has their strong ones
    model.safetensors   the best model so far, by the stated validation score
    teacher.safetensors the teacher of that epoch, of a mean teacher; or student.safetensors
    epochs/             040.safetensors and so on: models of epochs that were to be kept
    last.pt             what resuming needs; previous.pt is the one before it
    .new/               all this of a run that replaces it, until that has a model

and, if a sweep made it::

    sweep.log           the command lines of its stages, and what the stages said
    test/scores.h5      of the test clips; beside it events.tsv and tags.tsv
    test/settings.json  the options of tune, infer and evaluate, files by digest
    test/metrics.json   written last

The folder of a sweep holds::

    sweep.json          what all runs have in common: recipe, reference, runs asked for
    POOLING/seed-N/     the runs; POOLING,KEY=VALUE,.../seed-N where settings vary
    sweep.log           what `extract` and `compare` said
    comparison.txt      the tables of `sedtool compare`; as .md, .tsv and .tex, too

Two jobs are the same if their results are: settings of how a run works do not count, and files
count by content. `settings_of_weights` says it for a run that is resumed, `differences` for one
that is to be made again, by `sweep` or `train`.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from sedtool import __version__
from sedtool.atomic import claim, is_locked, write_text
from sedtool.bounds import RECORD, number, read_bounded
from sedtool.config import (
    DEVICE,
    MEAN_TEACHER,
    LookupConfig,
    PoolingConfig,
    TrainConfig,
    TrainInputs,
)
from sedtool.config.base import stated
from sedtool.config.recipe import read_recipe
from sedtool.errors import ArtifactError, ConfigError
from sedtool.plugins import files_of
from sedtool.text import file_sha256, quoted

_SWEEP_FORMAT = {"format": "sedtool-sweep", "format_version": 1}

# Settings of training that change how a run works, but no result.
_WORKING = ("save_every",)
# Settings that may differ between a run and its resumption; the steps that a mean teacher's ramp
# has are compared, not how they were given.
_RESUMABLE = (*_WORKING, "epochs", "patience", "keep_epochs", "ramp_up", "tune")
# Settings that do not tell one system of a comparison from another.
_OF_ONE_SYSTEM = (*_WORKING, "pooling", "seed")


class RunFolder:
    """The files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.record = path / "config.yaml", path / "run.json"
        self.history, self.model = path / "metrics.tsv", path / "model.safetensors"
        self.last, self.previous = path / "last.pt", path / "previous.pt"
        self.trained_on, self.held_out = path / "trained_on.tsv", path / "held_out.tsv"
        self.held_out_strong = path / "held_out_strong.tsv"
        self.epochs = path / "epochs"
        self.lock = path / ".lock"  # held by `train`
        # What a sweep adds.
        self.sweep_lock = path.with_name(f".{path.name}.lock")  # held by a sweep's process
        self.log, self.test = path / "sweep.log", path / "test"
        self.scores, self.events = self.test / "scores.h5", self.test / "events.tsv"
        self.tags = self.test / "tags.tsv"
        self.scoring = self.test / "settings.json"
        self.metrics = self.test / "metrics.json"

    def other(self, name: str) -> Path:
        """Return the model file of the `student` or `teacher`, whichever `model` is not."""
        return self.path / f"{name}.safetensors"

    @property
    def others(self) -> tuple[Path, ...]:
        """Return the files that may hold the other network of a mean teacher."""
        return tuple(self.other(name) for name in ("student", "teacher"))

    @property
    def replacement(self) -> "RunFolder":
        """Return the folder of a run that takes the place of this one once it has a model."""
        return RunFolder(self.path / ".new")

    def epoch(self, number: int) -> Path:
        return self.epochs / f"{number:03d}.safetensors"

    @property
    def kept(self) -> list[Path]:
        """Return the models of single epochs that are there."""
        return sorted(self.epochs.glob("[0-9]*.safetensors"))

    @property
    def files(self) -> list[Path]:
        """Return what `train` writes, the model last."""
        texts, states = (self.config, self.record, self.history), (self.previous, self.last)
        clips = (self.trained_on, self.held_out, self.held_out_strong)
        return [*texts, *clips, *self.kept, *states, *self.others, self.model]

    @property
    def written(self) -> list[Path]:
        """Return what `train` wrote that is there."""
        return [file for file in self.files if file.exists()]

    @property
    def has_state(self) -> bool:
        """Return whether training can go on."""
        return self.last.exists() or self.previous.exists()

    def is_held(self) -> bool | None:
        """Return whether a process works on the run; None where locks do not work."""
        return is_locked(self.sweep_lock) or is_locked(self.lock)

    def status(self, record: Mapping[str, Any]) -> str | None:
        """Return how training stands, given what run.json says; None if it does not say.

        A process that was killed could not write how it ended.
        """
        status = record.get("status")
        if status == "running" and is_locked(self.lock) is False:
            return "killed"
        return None if status is None else str(status)

    def read_record(self) -> dict[str, Any]:
        """Return what run.json says; nothing if it cannot be read."""
        try:
            return read_json(self.record)
        except (OSError, ArtifactError):
            return {}

    def is_trained(self) -> bool:
        """Return whether training has ended well."""
        return self.read_record().get("status") == "finished" and self.model.exists()

    def input_digests(self, settings: "RunSettings") -> dict[Path, str]:
        """Return the digests of the files that the run read; none where run.json has others.

        It names them as they were typed, in the order of config.yaml, which has them resolved.
        """
        found = self.read_record().get("inputs")
        paths = dict.fromkeys(path for group in settings.files.values() for path in group)
        digests = list(found.values()) if isinstance(found, dict) else []
        return dict(zip(paths, digests, strict=True)) if len(paths) == len(digests) else {}


def is_run_folder(path: Path) -> bool:
    """Return whether a folder is that of a run, finished or not."""
    folder = RunFolder(path)
    return any(file.is_file() for file in (folder.record, folder.last, folder.model))


def find_model(path: Path) -> Path:
    """Return the model file that a path is, or that of the run folder it is."""
    if not path.is_dir():
        return path
    model = RunFolder(path).model
    if not model.exists():
        raise ConfigError(
            f"{path} holds no {model.name}; give a model file, or the folder of a run"
        )
    return model


def find_models(path: Path) -> list[Path]:
    """Return the model file that a path is, or those of the run, or of the runs, in a folder."""
    if not path.is_dir() or RunFolder(path).model.exists():
        return [find_model(path)]
    models = (RunFolder(below).model for below in sorted(path.iterdir()))
    if found := [model for model in models if model.exists()]:
        return found
    raise ConfigError(f"{path} holds no {RunFolder(path).model.name}, nor does a folder in it")


@dataclass(frozen=True)
class RunSettings:
    """What config.yaml says: the settings of a training, and the files that it reads."""

    config: TrainConfig
    files: dict[str, tuple[Path, ...]]  # by option: features, weak, val-weak, classes, …
    missing: str = LookupConfig.missing
    partial: bool = LookupConfig.partial
    device: str = DEVICE
    min_confidence: float | None = LookupConfig.min_confidence

    @classmethod
    def of(cls, inputs: TrainInputs, config: TrainConfig, device: str) -> "RunSettings":
        """Return what config.yaml says of a run with these files, their paths resolved."""
        read = inputs.files | {"plugin": files_of(config.names)}
        files = {key: tuple(map(Path.resolve, paths)) for key, paths in read.items() if paths}
        return cls(config, files, inputs.missing, inputs.partial, device, inputs.min_confidence)

    @property
    def of_system(self) -> dict[str, str]:
        """Return the options that tell systems apart, as text: no files, nor pooling and seed."""
        options = vars(self.config).items()
        return {_option(k): _text(v) for k, v in options if k not in _OF_ONE_SYSTEM}

    def write(self, path: Path) -> None:
        """Write the settings so that ``sedtool train -c config.yaml -o OTHER`` runs them again."""
        values: dict[str, Any] = {
            key: [*map(str, paths)] if key in ("features", "plugin") else str(paths[0])
            for key, paths in self.files.items()
        }
        values |= {"missing": self.missing, "partial": self.partial}
        if self.min_confidence is not None:
            values["min-confidence"] = self.min_confidence
        for name, value in vars(self.config).items():
            if value != ():
                is_numbers = isinstance(value, tuple) and not isinstance(value[0], str)
                values[_option(name)] = _text(value) if is_numbers else value
        values["device"] = self.device
        write_text(path, yaml.safe_dump({"train": values}, sort_keys=False))

    @classmethod
    def read(cls, path: Path) -> "RunSettings":
        """Read a config.yaml; settings that it has not are at their defaults."""
        try:
            train = read_recipe(path)["train"].values
            values = {key: value for key, (value, _) in train.items() if value is not None}
            config = {
                name: _typed(kind, values.pop(_option(name)))
                for name, kind in get_type_hints(TrainConfig).items()
                if _option(name) in values
            }
            own = {"missing": str, "partial": bool, "device": str, "min-confidence": float}
            given = {k: _typed(own[k], values.pop(k)) for k in values.keys() & own.keys()}
            others = {key.replace("-", "_"): value for key, value in given.items()}
            files = {key: tuple(map(Path, _listed(value))) for key, value in values.items()}
            return cls(TrainConfig(**config), files, **others)
        except (OSError, LookupError, TypeError, ValueError, ConfigError) as error:
            raise ArtifactError(f"{path} cannot be read ({error})") from None


def same_pooling(text: str) -> str:
    """Return a text that is the same for all texts of one pooling: ``cap`` for ``cap:max=4.6``."""
    config = PoolingConfig.parse(text)
    if not config.options:
        return config.name
    from sedtool.pooling import canonical  # loads torch

    return str(canonical(config))


def _option(name: str) -> str:
    return name.replace("_", "-")


def _typed(kind: Any, value: Any) -> Any:
    """Return a value of config.yaml as its field has it."""
    if kind is bool:
        return {"true": True, "false": False}[value]
    if kind in (str, int, float):
        return kind(value)
    return tuple(map(get_args(kind)[0], value if isinstance(value, list) else value.split(",")))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _text(value: Any) -> str:
    """Return a setting as the command line takes it, or in a word or two."""
    text = "" if value is None else ",".join(map(str, _listed(value)))
    return f"a file ({text[7:15]}…)" if text.startswith("sha256:") else text or "not given"


def settings_of_weights(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that weights after a given number of steps depend on."""
    without = _RESUMABLE if config.method == "mean-teacher" else (*_RESUMABLE, *MEAN_TEACHER)
    return {key: value for key, value in stated(config).items() if key not in without}


def differences(
    there: RunSettings, here: RunSettings, digests: Mapping[Path, str]
) -> tuple[str, ...]:
    """Say in which settings a training that was run differs from one that is to be run.

    Files that the former read are compared by their `digests`; others by path.
    """

    def is_same(before: Path, now: Path) -> bool:
        is_known = before in digests and now.is_file()
        return digests[before] == file_digest(now) if is_known else before == now

    found = unlike(_comparable(there), _comparable(here))
    for key in there.files.keys() | here.files.keys():
        old, new = there.files.get(key, ()), here.files.get(key, ())
        if len(old) != len(new) or not all(map(is_same, old, new)):
            found.append(f"{key} has changed" if old == new else _difference(key, old, new))
    return tuple(sorted(found))


def unlike(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say which settings have another value there than here, of those that are named here."""
    changed = (key for key, value in here.items() if there.get(key) != value)
    return [_difference(key, there.get(key), here[key]) for key in changed]


def _difference(key: str, there: Any, here: Any) -> str:
    return f"{key} is {_text(there)} there and {_text(here)} here"


def _comparable(run: RunSettings) -> dict[str, Any]:
    """Return the settings, but for files, that results depend on, by option."""
    values = {_option(k): v for k, v in vars(run.config).items() if k not in _WORKING}
    own = {"missing": run.missing, "partial": run.partial, "min-confidence": run.min_confidence}
    return values | {"pooling": same_pooling(run.config.pooling), **own}


def rows_of(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of metrics.tsv from a state, or raise a ValueError if they are none.

    All epochs have as many steps, and the run is in the one after the last row.
    """
    columns, values = state["columns"], state["tensors"]["rows"]
    rows = [dict(zip(columns, row, strict=True)) for row in values.tolist()]
    steps = int(number(rows[0]["step"], 1)) if rows else 0
    for i, row in enumerate(rows, 1):
        ranges = {"epoch": (i, i), "step": (i * steps,) * 2, "lr": (0.0,)}
        ranges |= dict.fromkeys(("clip_f1", "event_f1"), (0, 1))
        row |= {key: number(value, *ranges.get(key, ())) for key, value in row.items()}
        row |= {"epoch": i, "step": i * steps}
    number(state["step"], len(rows) * steps, (len(rows) + 1) * steps if rows else 1e12)
    return rows


# The folder of a sweep


class SweepFolder:
    """The files of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path, self.record, self.log = path, path / "sweep.json", path / "sweep.log"
        self.tables = tuple(path / f"comparison.{suffix}" for suffix in ("txt", "md", "tsv", "tex"))

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.path / name)

    def read_failures(self) -> dict[str, str]:
        """Return why runs failed, by name, as the latest sweep left it beside the folder."""
        path = self.path.resolve()
        table = path.with_name(f"{path.name}.failures.tsv")
        if not table.is_file():
            return {}
        try:
            text = read_bounded(table, RECORD).decode("utf-8", errors="replace")
        except OSError as error:
            raise ArtifactError(f"{table}: cannot be read ({error.strerror})") from None
        cells = [line.split("\t", 2) for line in text.splitlines()[1:]]
        return {name: ": ".join(why) for name, *why in cells}

    def add_record(self, record: "SweepRecord") -> None:
        """Write sweep.json; runs that an earlier sweep asked for stay in it."""
        with claim(self.record, overwrite=True):
            earlier = SweepRecord.read(self.record) if self.record.exists() else record
            runs = tuple(dict.fromkeys((*earlier.runs, *record.runs)))
            varied = {**earlier.varied, **record.varied}
            dataclasses.replace(record, runs=runs, varied=varied).write(self.record)


def run_name(pooling: str, seed: int, varied: Iterable[str] = ()) -> str:
    """Return ``POOLING/seed-N``, or as ``POOLING,arch=small,infer.median=off/seed-N``."""
    return f"{name_of(pooling, varied)}/seed-{seed}"


def name_of(first: str, varied: Iterable[str]) -> str:
    """Return a file name; what is unusual in it becomes a hyphen, and one too long is cut."""
    texts = (first, *(text.removeprefix("train.") for text in varied))
    name = ",".join(re.sub("[^A-Za-z0-9=._+]", "-", text) for text in texts)
    digest = sha256(name.encode()).hexdigest()[:8]
    return name if len(name) <= 200 else f"{name[:190]}-{digest}"  # files have 255 characters


def split_name(name: str) -> tuple[str, int]:
    """Return folder and seed of a run's name; any that leads out of a sweep's folder is refused."""
    match = re.fullmatch(r"([A-Za-z0-9=._+,-]+)/seed-([0-9]{1,18})", name)
    if match is None or match[1] in (".", ".."):
        raise ConfigError(f"{quoted(name)} is no name of a run, such as power/seed-0")
    return match[1], int(match[2])


@dataclass(frozen=True)
class NamedFile:
    """A file, and what was in it."""

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "NamedFile":
        return cls(path.resolve(), file_digest(path.resolve()))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "NamedFile":
        return cls(Path(fields["path"]), str(fields["sha256"]))

    def require(self) -> Path:
        """Return the path, or raise an ArtifactError if the file is not what it was."""
        if not self.path.is_file():
            raise ArtifactError(f"{self.path} is not there any more; name it, or sweep again")
        if file_digest(self.path) != self.sha256:
            raise ArtifactError(f"{self.path} is not what the runs were scored against")
        return self.path


@dataclass(frozen=True)
class SweepRecord:
    """What sweep.json says."""

    recipe: str
    data: str
    reference: NamedFile
    weak_reference: NamedFile | None
    paper: Path | None
    runs: tuple[str, ...]  # names of all runs that were ever asked for
    varied: Mapping[str, tuple[str, ...]]  # folder of runs -> what varies, as train.arch=small

    def write(self, path: Path) -> None:
        fields = {**_SWEEP_FORMAT, "sedtool_version": __version__, **dataclasses.asdict(self)}
        text = json.dumps(fields, indent=2, ensure_ascii=False, default=str)
        write_text(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> "SweepRecord":
        """Read sweep.json; an ArtifactError says if it is damaged, or of another version."""
        try:
            fields = read_json(path)
            found = {key: fields[key] for key in _SWEEP_FORMAT}
            if found != _SWEEP_FORMAT:
                raise ValueError(f"it is {found}, not {_SWEEP_FORMAT}")
            weak, paper = fields["weak_reference"], fields["paper"]
            return cls(
                str(fields["recipe"]),
                str(fields["data"]),
                NamedFile.from_json(fields["reference"]),
                None if weak is None else NamedFile.from_json(weak),
                None if paper is None else Path(paper),
                tuple(map(str, fields["runs"])),
                {str(k): tuple(map(str, v)) for k, v in fields.get("varied", {}).items()},
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(f"{path}: cannot be read ({error!r})") from None


# What is read of both


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or raise an ArtifactError; NaN and infinity become None."""
    try:
        content = json.loads(read_bounded(path, RECORD), parse_constant=lambda _: None)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged, or not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{path}: its JSON is no object")
    return content


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, read once as long as it is not changed."""
    return _digest(path, (status := path.stat()).st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, changed: int, size: int) -> str:
    return file_sha256(path)
