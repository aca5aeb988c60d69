"""What is done of an output is kept beside it, and an interrupted run ends in the same bytes."""

import dataclasses
import errno
import fcntl
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sedtool.atomic import resource_errors
from sedtool.errors import ArtifactError, ConfigError, OutputExistsError, ResourceError
from sedtool.shards import Shard, manifest_digest
from sedtool.store import (
    open_features,
    unfinished,
)
from sedtool.store.spool import Unfinished, resumes
from support.score_files import write_scores
from support.stored import (
    CONFIG,
    FAILURES,
    NAMES,
    add,
    clip_of,
    example_scores,
    write_features,
    writer_of,
)

same_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features.h5"


def interrupt(path: Path, names: list[str]) -> None:
    """Leave a spool with these clips, as a killed run does."""
    with writer_of(path, overwrite=True) as writer:
        add(writer, names)


@given(order=st.permutations(NAMES[:4]), stops=st.lists(st.integers(0, 4), max_size=3))
@settings(same_folder, max_examples=15)
def test_the_order_and_interruptions_of_the_work_change_no_byte(tmp_path, order, stops):
    whole = write_features(tmp_path / "whole.h5")
    path = tmp_path / "features.h5"
    path.unlink(missing_ok=True)
    for stop in sorted(stops):
        with writer_of(path) as writer:
            add(writer, [name for name in order[:stop] if name not in writer.done])
    assert write_features(path, order) == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["features.h5", "whole.h5"]


def test_a_rerun_knows_what_is_done(path):
    interrupt(path, NAMES[:2])
    with writer_of(path) as writer:
        assert writer.done == {name: clip_of(name) for name in NAMES[:2]}


def test_a_clip_that_is_done_again_replaces_the_first(path):
    whole = write_features(path)
    wrong = dataclasses.replace(clip_of(NAMES[0]), n_frames=1)
    with writer_of(path, overwrite=True) as writer:
        writer.add(wrong, [bytes(16)])
        add(writer, NAMES[:4])
        writer.finish(FAILURES)
    assert path.read_bytes() == whole


@given(data=st.data())
@settings(same_folder, max_examples=30)
def test_a_spool_that_was_torn_or_damaged_anywhere_ends_in_the_same_bytes(tmp_path, data):
    whole = write_features(tmp_path / "whole.h5")
    path = tmp_path / "features.h5"
    path.unlink(missing_ok=True)
    interrupt(path, NAMES[:3])
    victim = path.with_name(f"features.h5.{data.draw(st.sampled_from(['spool', 'journal']))}")
    content = bytearray(victim.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[position:]
    else:
        content[position] ^= data.draw(st.integers(1, 255))
    victim.write_bytes(content)
    assert write_features(path) == whole


def test_a_torn_line_costs_one_clip_once(path):
    interrupt(path, NAMES[:3])
    journal = path.with_name("features.h5.journal")
    journal.write_bytes(journal.read_bytes()[:-5])
    interrupt(path, [NAMES[3]])
    with writer_of(path) as writer:
        assert list(writer.done) == [NAMES[0], NAMES[1], NAMES[3]]


@pytest.mark.parametrize(
    "other",
    [
        {"config": dataclasses.replace(CONFIG, fmin=50.0)},
        {"names": [*NAMES, "c.wav"]},
        {"dtype": "f32"},
        {"engine": "torchaudio"},
        {"shard": Shard(1, 2)},
        {"allow_truncated": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_an_unfinished_run_of_another_job_is_dropped_only_on_request(path, caplog, other):
    interrupt(path, NAMES[:2])
    before = contents(path.parent)
    key = "manifest_sha256" if "names" in other else next(iter(other))
    with pytest.raises(OutputExistsError, match=rf"differs in: .*{key}.*--overwrite"):
        writer_of(path, **other).__enter__()
    assert contents(path.parent) == before
    with writer_of(path, overwrite=True, **other) as writer:
        assert writer.done == {}
    assert "unfinished run with other settings or files is dropped" in caplog.text
    assert key in caplog.text


def test_an_unfinished_run_of_another_job_is_no_leave_to_replace_a_finished_output(path):
    finished = write_features(path)
    other = path.with_name("other.h5")
    interrupt(other, NAMES[:2])
    for suffix in (".journal", ".spool"):
        other.with_name(other.name + suffix).rename(path.with_name(path.name + suffix))
    with pytest.raises(OutputExistsError, match="differs in: dtype"):
        writer_of(path, dtype="f32").__enter__()
    assert path.read_bytes() == finished
    assert write_features(path) == finished  # the journal's own job goes on


@pytest.mark.parametrize("journal", [None, b"", b'{"clips": 5', b"\xff\n", b"[1]\n"], ids=ascii)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_holds_no_job_resumes_nothing(path, journal, overwrite):
    if journal is not None:
        path.with_name("features.h5.journal").write_bytes(journal)
    assert not resumes(path, {"clips": 5}, overwrite)


@pytest.mark.parametrize("hostile", ["nested", "endless"])
def test_a_hostile_journal_costs_neither_memory_nor_the_run(path, hostile):
    interrupt(path, NAMES[:2])
    journal = path.with_name("features.h5.journal")
    with journal.open("ab") as stream:
        if hostile == "nested":
            stream.write(b"[" * 10**5 + b"\n")
        else:
            stream.truncate(2**29)  # of zeros, on no disk
    tracemalloc.start()
    try:
        assert unfinished(path).done == 2 + (hostile == "nested")
        with writer_of(path) as writer:
            assert set(writer.done) == set(NAMES[:2])
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    journal.write_bytes(b"[" * 10**5 + b"\n")
    assert unfinished(path) is None


def test_a_link_to_an_output_resumes_what_stands_beside_the_output(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.h5.journal").write_text('{"a": 1, "b": 2}\n')
    (tmp_path / "link.h5").symlink_to(tmp_path / "real" / "out.h5")
    assert resumes(tmp_path / "link.h5", {"b": 2, "a": 1}, False)
    with pytest.raises(OutputExistsError, match="differs in: b, c"):
        resumes(tmp_path / "link.h5", {"a": 1, "c": 3}, False)


def test_a_run_that_cannot_begin_leaves_nothing(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sedtool.store.spool.write_all", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        writer_of(path).__enter__()
    assert list(path.parent.iterdir()) == []


def test_a_run_that_cannot_go_on_keeps_what_is_done(path, monkeypatch):
    interrupt(path, NAMES[:2])
    before = contents(path.parent)
    opened = Path.open

    def full(self, *args, **options):
        if self.suffix == ".spool":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(ResourceError, match="the disk is full"):
            writer_of(path).__enter__()
    assert contents(path.parent) == before


def test_a_second_writer_stops_at_once_and_the_first_is_not_disturbed(path):
    with writer_of(path) as writer:
        add(writer, NAMES[:2])
        for _ in range(2):
            with (
                pytest.raises(ResourceError, match=r"another sedtool is making .*features\.h5"),
                writer_of(path),
            ):
                pass
        add(writer, NAMES[2:4])
        writer.finish(FAILURES)
    assert open_features(path).names == NAMES[:4]


def test_a_writer_that_waited_for_the_lock_does_not_replace_what_the_first_finished(
    path, monkeypatch
):
    """The second opens the journal, the first finishes and removes it, the second gets the lock."""
    flock, finished = fcntl.flock, []

    def first_finishes(descriptor, operation):
        if not finished:
            finished.append(True)
            write_features(path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", first_finishes)
    with pytest.raises(OutputExistsError), writer_of(path):
        pass
    assert [p.name for p in path.parent.iterdir()] == ["features.h5"]


def test_a_writer_that_waited_for_the_lock_holds_it_against_a_third(path, monkeypatch):
    """The lock it got first was that of a journal which is gone."""
    flock, finished = fcntl.flock, []

    def first_finishes(descriptor, operation):
        if not finished:
            finished.append(True)
            write_features(path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", first_finishes)
    with (
        writer_of(path, overwrite=True),
        pytest.raises(ResourceError, match="another sedtool is making"),
        writer_of(path, overwrite=True),
    ):
        pass


def test_without_locks_work_goes_on_with_a_warning(path, monkeypatch, caplog):
    def no_locks(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_features(path)
    assert "cannot be locked (Function not implemented)" in caplog.text


def test_an_unfinished_output_is_never_taken_for_a_complete_one(path):
    interrupt(path, NAMES[:3])
    with pytest.raises(ArtifactError, match=r"not complete \(3 of 5 clips\); run the same extract"):
        open_features(path)


def test_an_unfinished_part_says_which_it_is(path):
    with writer_of(path, shard=Shard(2, 3)) as writer:
        add(writer, [NAMES[1]])
    with pytest.raises(ArtifactError, match=r"not complete \(shard 2/3, 1 of 2 clips\)"):
        open_features(path)
    assert unfinished(path) == Unfinished(1, 2, Shard(2, 3), manifest_digest(NAMES))


@pytest.mark.parametrize(
    "content",
    [b"", b"{}\n", b"[]\n", b"\xff\n", b'{"clips": 3, "shard": 2}\n', b'{"shard": "9/3"}\n'],
)
def test_what_is_no_journal_says_nothing(path, content):
    path.with_name("features.h5.journal").write_bytes(content)
    assert unfinished(path) is None


def test_a_run_that_did_nothing_leaves_nothing(path):
    interrupt(path, [])
    assert not list(path.parent.iterdir())


def test_what_killed_writers_left_is_removed(path):
    stale = path.with_name(".features.h5.abc123.tmp")
    other = path.with_name(".other.h5.abc123.tmp")
    stale.touch()
    other.touch()
    write_features(path)
    assert not stale.exists()
    assert other.exists()


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "features.h5"
    link.symlink_to("disk/real.h5")
    interrupt(link, NAMES[:1])
    with pytest.raises(ArtifactError, match="1 of 5 clips"):
        open_features(link)
    write_features(link)
    assert link.is_symlink()
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["real.h5"]
    assert open_features(link).names == NAMES[:4]


def test_outputs_that_cannot_be_are_refused(tmp_path):
    with (
        pytest.raises(ConfigError, match="not a regular file"),
        writer_of(tmp_path),
    ):
        pass
    with (
        pytest.raises(ResourceError, match="the folder does not exist"),
        writer_of(tmp_path / "none" / "f.h5"),
    ):
        pass
    with pytest.raises(ResourceError, match="the folder does not exist"):
        write_scores(tmp_path / "none" / "s.h5", example_scores())


def test_a_file_size_limit_is_a_resource_error(path):
    with pytest.raises(ResourceError, match="larger than is allowed"), resource_errors(path):
        raise OSError(27, "File too large")
