"""Files of one result appear together, or a mark says that they have not, until a rerun ends."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from sedtool.atomic import claim, claim_folder, refuse_unfinished, write_text
from sedtool.audio import AudioInputs
from sedtool.checking import CheckInputs, check
from sedtool.cli import cli
from sedtool.comparison import tables
from sedtool.demo import DemoFiles, run_demo
from sedtool.errors import ArtifactError, BusyError, OutputExistsError
from sedtool.info import describe
from sedtool.labels import read_events
from sedtool.shards import Shard
from support.command_lines import refused, run, save_small_model
from support.faults import fail
from support.parts import FAILED, fake_features

pytestmark = pytest.mark.slow

TABLE = "filename\tonset\toffset\tevent_label\n" + "".join(
    f"{name}.wav\t{i}.000000\t{i + 1}.000000\tDog\n" for i, name in enumerate("abcd")
)


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".made")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def visible(folder: Path) -> dict[str, bytes]:
    """Return what a reader may take for a result."""
    kept = (".journal", ".spool")
    return {
        name: text
        for name, text in contents(folder).items()
        if "/." not in f"/{name}" and not name.endswith(kept)
    }


# Every command that writes several files, stopped at each of its renames


def stopped_at(number: int, *line) -> bool:
    """Run a line whose disk fails at a rename; return whether it did."""
    replace, left = os.replace, list(range(number))

    def failing(*args, **kwargs) -> None:
        if not left.pop():
            fail(errno.EIO)()
        replace(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *a, **k: failing(*a, **k) if left else replace(*a, **k))
        words = [*map(str, line), "-q"]
        result = CliRunner().invoke(cli, words)
    assert result.exit_code == (0 if left else 6), result.stderr
    return not left


@pytest.fixture(scope="module")
def small(tiny, tmp_path_factory):
    """A model, and the scores that it gives."""
    folder = tmp_path_factory.mktemp("small")
    model = save_small_model(folder / "m.safetensors")
    run("infer", model, tiny.features, "--scores", folder / "s.h5", "-q")
    return model, folder / "s.h5"


@pytest.fixture
def line(request, small, tiny, tmp_path):
    """A command line with its outputs in the folder "out", by the name of the parameter."""
    model, scores = small
    out, table = tmp_path / "out", tmp_path / "table.tsv"
    table.write_text(TABLE)
    lists = ("infer", model, scores, "-o", out, "--format", "audacity")
    return {
        "tracks": ("convert", table, "--to", "audacity", "-o", f"{out}/"),
        "scores": ("convert", scores, "-o", f"{out}/"),
        "lists": (*lists, "--weak", out / "tags.tsv"),
        "files": (*lists[:4], out / "e.tsv", "--weak", out / "w.tsv", "--scores", out / "s.h5"),
    }[request.param]


@pytest.mark.parametrize("line", ["tracks", "scores", "lists", "files"], indirect=True)
def test_a_line_that_was_stopped_while_it_renamed_ends_well_when_it_is_run_again(line, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    run(*line, "-q")
    expected = contents(out)
    n_renames = sum(path.is_file() for path in out.rglob("*")) + 1  # the mark, too
    for number in (*range(1, 4), n_renames, n_renames + 1):
        shutil.rmtree(out)
        out.mkdir()
        (out / "other.wav").write_bytes(b"mine")
        was_stopped = stopped_at(number, *line)
        assert was_stopped == (number <= n_renames)
        assert (len(visible(out)) > 1) == (number > 2)
        if was_stopped:
            run(*line, "-q")
        assert contents(out) == expected | {"other.wav": b"mine"}, number


@pytest.mark.parametrize("line", ["tracks", "scores", "lists"], indirect=True)
def test_a_part_of_a_folder_is_read_by_nobody_and_no_other_result_is_put_to_it(
    line, tiny, tmp_path
):
    out, table = tmp_path / "out", tmp_path / "table.tsv"
    out.mkdir()
    assert stopped_at(4, *line)
    assert f"{out}: not complete; run again what was to" in refused("convert", out, exit_code=5)
    psds = ("evaluate", tiny.strong, out, "--metrics", "psds1", "-q")
    assert "not complete" in refused(*psds, exit_code=5)
    before = contents(out)
    table.write_text(TABLE.replace("a.wav", "e.wav"))
    said = refused("convert", table, "--to", "raven", "-o", out, "--overwrite")
    assert "out holds part of another result, with " in said
    assert contents(out) == before


@pytest.mark.parametrize("line", ["tracks", "files"], indirect=True)
def test_what_was_changed_since_is_not_replaced(line, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert stopped_at(4, *line)
    name = min(visible(out))
    (out / name).write_text("mine")
    assert f"{name} exists; give --overwrite" in refused(*line)
    assert (out / name).read_text() == "mine"
    run(*line, "--overwrite", "-q")
    assert not [path for path in out.rglob(".*") if path.suffix != ".made"]


def test_an_interrupted_run_replaces_only_what_it_has_made(small, tiny, tmp_path):
    model, _ = small
    line = ("infer", model, tiny.features, "-o", tmp_path / "e.tsv")
    assert stopped_at(1, *line)
    precious = [tmp_path / "s.h5", tmp_path / "w.tsv"]
    for path in precious:
        path.write_text("precious")
        option = "--scores" if path.suffix == ".h5" else "--weak"
        assert f"{path.name} exists; give --overwrite" in refused(*line, option, path)
        assert path.read_text() == "precious"
    assert (tmp_path / "e.tsv.journal").exists()
    run(*line, "-q")
    assert visible(tmp_path).keys() == {"e.tsv", "s.h5", "w.tsv"}


def test_tables_of_a_comparison_appear_together(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "format_comparison", lambda comparison, name: f"{name}\n")
    outputs = [tmp_path / "a.txt", tmp_path / "b.tex"]
    with monkeypatch.context() as patch:
        patch.setitem(tables.FORMATS, "latex", None)
        patch.setattr(tables, "format_comparison", lambda _, name: {"text": "text\n"}[name])
        with pytest.raises(KeyError):
            tables.write_tables(None, outputs, None, overwrite=False)
    assert contents(tmp_path) == {}
    tables.write_tables(None, outputs, None, overwrite=False)
    assert contents(tmp_path) == {"a.txt": b"text\n", "b.tex": b"latex\n"}


def test_a_merge_that_is_run_again_names_what_had_failed(tmp_path):
    parts = [fake_features(tmp_path / f"{i}.h5", Shard(i, 2)) for i in (1, 2)]
    out = tmp_path / "out"
    out.mkdir()
    assert stopped_at(3, "merge", *parts, "-o", out / "f.h5")
    assert visible(out).keys() == {"f.h5"}
    run("merge", *parts, "-o", out / "f.h5", "-q")
    assert contents(out).keys() == {"f.h5", "f.h5.failures.tsv"}
    assert all(name in (out / "f.h5.failures.tsv").read_text() for name in FAILED)


def test_a_mark_of_others_names_nothing_that_may_be_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.tsv").write_text("mine")
    for text in ("{", "[]", '{"files": [["a.tsv", 1]]}', '{"files": {"a.tsv": [4, 0]}}'):
        (out / ".unfinished").write_text(text)
        with (
            pytest.raises(OutputExistsError, match=r"a\.tsv exists"),
            claim_folder(out, [out / "a.tsv"], overwrite=False),
        ):
            write_text(out / "a.tsv", "other")
        with pytest.raises(ArtifactError, match="not complete"):
            refuse_unfinished(out)
    assert (out / "a.tsv").read_text() == "mine"


# What killed runs left under temporary names


def leave(*paths: Path) -> list[Path]:
    """Leave a temporary file of each, and of a neighbour; return those."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.name}.k3j2ab9x.tmp").touch()
        path.with_name(f".{path.name}.old.k3j2ab9x.tmp").touch()
    return [path.with_name(f".{path.name}.old.k3j2ab9x.tmp") for path in paths]


def left(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".*.tmp"))


def test_temporary_files_go_with_the_next_run_on_their_output(small, tiny, tmp_path):
    model, scores = small
    out, clip = tmp_path / "out", next(iter(read_events(tiny.strong).names))
    picture, tables, lists, file = out / "a.svg", out / "scores", out / "lists", out / "e.tsv"
    stem = clip.rpartition("/")[2].removesuffix(".wav")
    others = leave(
        *(picture, file, file.with_name("e.tsv.failures.tsv"), tables / f"{stem}.tsv"),
        *(tables / ".unfinished", lists / f"{clip}.txt", lists / ".unfinished"),
    )
    run("plot clip", tiny.features, scores, clip, "-o", picture, "-q")
    run("convert", scores, "-o", tables, "-q")
    run("infer", model, scores, "-o", lists, "--format", "audacity", "-q")
    run("infer", model, scores, "-o", file, "-q")
    assert left(out) == sorted(others)


def test_a_demo_that_was_killed_at_once_is_run_again(tmp_path):
    files = DemoFiles(tmp_path)
    leave(files.marker)[0].unlink()
    files.refuse_others()
    with claim(files.marker, overwrite=True):
        files.begin()
    assert [path.name for path in tmp_path.iterdir()] == [files.marker.name]


def test_of_two_demos_in_a_folder_one_is_refused_at_once(tmp_path):
    with claim(DemoFiles(tmp_path).marker), pytest.raises(BusyError):
        run_demo(tmp_path, bar=None)
    assert not list(tmp_path.iterdir())


def test_what_is_not_complete_is_named_so_by_info_and_refused_by_check(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.tsv").write_text("filename\tonset\toffset\tevent_label\na.wav\t0\t1\tdog\n")
    (tmp_path / "b.tsv").write_bytes((out / "a.tsv").read_bytes())
    for mark in (out / ".unfinished", tmp_path / ".b.tsv.unfinished"):
        mark.write_text('{"files": {}}')
    for path in (out, tmp_path / "b.tsv"):
        assert describe(path).kind == "unfinished output"
    for inputs in (CheckInputs(AudioInputs((out,))), CheckInputs(AudioInputs(()), [out / "a.tsv"])):
        with pytest.raises(ArtifactError, match="out: not complete"):
            check(inputs, workers=1)
