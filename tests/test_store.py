"""features.h5 and scores.h5 come back as they were written, or are refused in one line."""

import contextlib
import dataclasses
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sedtool.config import DecodingConfig, to_json
from sedtool.errors import ArtifactError
from sedtool.shards import WHOLE, Shard, manifest_digest
from sedtool.store import (
    Scores,
    ScoresHeader,
    ScoresWriter,
    SourceClip,
    file_format,
    is_hdf5,
    open_features,
    open_scores,
)
from sedtool.store.layout import tables_digest
from sedtool.store.reading import StoredFrames, file_shard
from support.score_files import write_scores
from support.stored import (
    CONFIG,
    FAILURES,
    LENGTHS,
    NAMES,
    add,
    clip_of,
    example_scores,
    frames_of,
    write_features,
    writer_of,
)

same_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features.h5"


# What is written is read


def test_features_are_read_as_they_were_written(path):
    write_features(path)
    features = open_features(path)
    assert features.config == CONFIG
    assert features.names == NAMES[:4]
    assert features.frames.tolist() == list(LENGTHS.values())
    assert features.start.tolist() == [0, 3, 8, 15]
    assert features.duration.tolist() == [n / 40 for n in LENGTHS.values()]
    assert features.source_sha256 == ["ab" * 32] * 4
    assert features.failures == FAILURES
    for i, name in enumerate(features.names):
        assert np.array_equal(features.clip(i), frames_of(name))
        assert features.clip(i).flags.aligned


def test_float32_features_are_read_too(path):
    frames = np.random.default_rng(0).standard_normal((5, 8)).astype("<f4")
    with writer_of(path, names=["a.wav"], dtype="f32") as writer:
        writer.add(SourceClip("a.wav", 5, 16_000, 1, 0.1, 9, "00" * 32, 7), [frames.tobytes()])
        writer.finish([])
    assert np.array_equal(open_features(path).data[:], frames)


def test_the_file_is_plain_hdf5_of_the_documented_layout(path):
    write_features(path)
    with h5py.File(path) as file:
        assert set(file.attrs) == {
            *("format", "format_version", "sedtool_version", "sha256", "config", "config_sha256"),
            *("engine", "allow_truncated", "manifest_sha256", "shard", "n_shards"),
        }
        assert file.attrs["format"] == b"sedtool-features"
        assert file.attrs["format_version"] == 2
        assert json.loads(file.attrs["config"]) == dataclasses.asdict(CONFIG)
        found: dict[str, str] = {}
        file.visititems(
            lambda name, item: (
                found.update({name: item.dtype.kind + str(item.ndim)})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        assert found == {
            "features/logmel": "f2",
            "features/sha256": "S1",
            "clips/name": "S1",
            "clips/start": "u1",
            "clips/frames": "u1",
            "clips/duration": "f1",
            "clips/source_rate": "u1",
            "clips/channels": "u1",
            "clips/size": "u1",
            "clips/sha256": "S1",
            "clips/truncated": "u1",
            "failures/name": "S1",
            "failures/error": "S1",
        }
        assert file["clips/name"].asstr()[:].tolist() == NAMES[:4]
        assert file["features/logmel"].chunks is None
        assert file["features/logmel"].dtype == np.float16
        expected = np.concatenate([frames_of(name) for name in NAMES[:4]])
        assert np.array_equal(file["features/logmel"], expected)


def test_headers_of_millions_of_frames_take_little_memory_and_no_copy_of_them(path):
    from sedtool.store.features import _LAYOUT
    from sedtool.store.layout import Frames, _headers

    frames = Frames((5_000_000, 64), "<f2", list)
    sparse, hole, end = _headers(_LAYOUT, {"config": "{}"}, {"/clips/size": np.zeros(9)}, frames)
    assert end - hole >= 5_000_000 * 64 * 2
    assert sum(len(content) for _, content in sparse.written) < 100_000


def test_a_part_says_which_it_is_and_of_which_list(path):
    with writer_of(path, shard=Shard(2, 2)) as writer:
        add(writer, [NAMES[3], NAMES[1]])
        writer.finish([])
    features = open_features(path)
    assert features.names == [NAMES[1], NAMES[3]]
    assert features.shard == Shard(2, 2)
    assert features.manifest_sha256 == manifest_digest(NAMES)
    write_features(path)
    assert open_features(path).shard == WHOLE
    assert open_features(path).manifest_sha256 == manifest_digest(NAMES)


def test_a_part_may_be_empty(tmp_path, path):
    """Of a shard whose files all failed, or that is one of more shards than there are files."""
    with writer_of(path, shard=Shard(5, 9)) as writer:
        writer.finish(FAILURES)
    features = open_features(path)
    assert (features.names, features.failures, features.shard) == ([], FAILURES, Shard(5, 9))
    assert features.data.shape == (0, 8)
    content = path.read_bytes()
    for position in range(0, len(content), 61):  # its digest covers it as any other
        path.write_bytes(patched(content, position))
        with contextlib.suppress(ArtifactError):
            assert as_plain(open_features(path)) == as_plain(features)

    part = dataclasses.replace(header(example_scores()), shard=Shard(5, 9))
    with ScoresWriter(tmp_path / "scores.h5", part):
        pass
    scores = open_scores(tmp_path / "scores.h5")
    assert (scores.names, scores.shard, scores.frame.shape) == ([], Shard(5, 9), (0, 2))


def patched(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]


def test_a_whole_file_may_not_be_empty(tmp_path, path):
    with writer_of(path) as writer:
        writer.finish(FAILURES)
    with pytest.raises(ArtifactError, match=r"features\.h5: there is no clip in it"):
        open_features(path)
    with ScoresWriter(tmp_path / "scores.h5", header(example_scores())):
        pass
    with pytest.raises(ArtifactError, match=r"scores\.h5: there is no clip in it"):
        open_scores(tmp_path / "scores.h5")


def test_clips_that_were_truncated_stay_marked(path):
    with writer_of(path, allow_truncated=True) as writer:
        add(writer, [NAMES[0]])
        clip = dataclasses.replace(clip_of(NAMES[1]), truncated=True)
        writer.add(clip, [frames_of(NAMES[1]).tobytes()])
    with writer_of(path, allow_truncated=True) as writer:
        writer.finish([])
    features = open_features(path)
    assert features.truncated.tolist() == [False, True]
    assert features.allow_truncated


def test_more_than_one_block_of_frames_has_as_many_digests(path, monkeypatch):
    monkeypatch.setattr("sedtool.store.layout.BLOCK_SIZE", 100)
    monkeypatch.setattr("sedtool.store.reading.CHUNK_SIZE", 64)
    content = write_features(path)
    with h5py.File(path) as file:
        assert len(file["features/sha256"]) == -(-24 * 16 // 100)
        offset = file["features/logmel"].id.get_offset()
    open_features(path)
    path.write_bytes(content[: offset + 250] + b"\xaa" + content[offset + 251 :])
    with pytest.raises(ArtifactError, match="block 3 of 4 of its frames does not match"):
        open_features(path)
    assert open_features(path, verify=False).names == NAMES[:4]


def test_scores_are_read_as_they_were_written(tmp_path):
    path, scores = tmp_path / "scores.h5", example_scores()
    write_scores(path, scores)
    found = open_scores(path)
    for field in dataclasses.fields(Scores):
        expected, value = getattr(scores, field.name), getattr(found, field.name)
        if field.name == "sha256":
            assert len(value) == 64
        elif isinstance(expected, np.ndarray):
            assert np.array_equal(value[:], expected), field.name
        else:
            assert value == expected, field.name
    assert found.frame.dtype == np.float32
    write_scores(tmp_path / "again.h5", found)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_formats_are_told_apart(tmp_path, path):
    write_features(path)
    write_scores(tmp_path / "scores.h5", example_scores())
    (tmp_path / "text").write_text("text")
    assert [is_hdf5(tmp_path / n) for n in ("features.h5", "scores.h5", "text", "none", ".")] == [
        *(True, True),
        *(False, False, False),
    ]
    assert file_format(path) == "sedtool-features"
    assert file_format(tmp_path / "scores.h5") == "sedtool-scores"
    with pytest.raises(ArtifactError, match="text: not an HDF5 file"):
        file_format(tmp_path / "text")
    with pytest.raises(ArtifactError, match="'sedtool-scores', not 'sedtool-features'"):
        open_features(tmp_path / "scores.h5")


# Scores that make no sense


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.1])
@pytest.mark.parametrize("field", ["frame", "window"])
def test_scores_that_are_no_probabilities_are_not_written(tmp_path, field, value):
    scores = example_scores()
    getattr(scores, field)[2, 1] = value
    with pytest.raises(ArtifactError, match=r"b?a?\.wav: the model gave scores"):
        write_scores(tmp_path / "scores.h5", scores)
    assert not list(tmp_path.iterdir())


def test_an_error_while_scoring_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.h5"
    path.write_text("old")
    scores = example_scores()
    with pytest.raises(KeyError), ScoresWriter(path, header(scores)):
        raise KeyError("a bug")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def header(scores: Scores) -> ScoresHeader:
    return ScoresHeader(scores.classes, scores.frame_rate, scores.decoding, scores.model_sha256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_start": np.array([0, 0, 6])}, "beyond its clip"),
        ({"window_frames": np.array([7, 10, 10])}, "beyond its clip"),
        ({"window_frames": np.array([0, 10, 10])}, "beyond its clip"),
        ({"names": ["a.wav", "a.wav"]}, "twice"),
        ({"names": ["a.wav", "b\x1b[2J.wav"]}, "control character"),
        ({"duration": np.array([1.0, np.nan])}, "duration"),
        ({"duration": np.array([0.0, 1.0])}, "duration"),
        ({"frame_rate": 0.0}, "frame_rate"),
        ({"classes": ("Dog", "Dog")}, "differ in number"),
        ({"decoding": DecodingConfig.default(3)}, "differ in number"),
        ({"frames": np.array([0, 21])}, "one after the other"),
        ({"settings": "\x1b[2J"}, "control character"),
        ({"manifest_sha256": "\x1b[2J"}, "control character"),
    ],
)
def test_a_scores_file_that_makes_no_sense_is_refused(tmp_path, changes, message):
    """Its digests are right: whoever made it meant it."""
    scores = dataclasses.replace(example_scores(), **changes)
    write_scores(tmp_path / "scores.h5", scores)
    with pytest.raises(ArtifactError, match=f"scores.h5: .*{message}") as caught:
        open_scores(tmp_path / "scores.h5")
    assert str(caught.value).isprintable()


def sign(file: h5py.File, frames: str) -> None:
    """Make the digest of a changed file right again."""
    tables: dict[str, np.ndarray] = {}
    file.visititems(
        lambda name, item: (
            tables.update({f"/{name}": item[()]})
            if isinstance(item, h5py.Dataset) and name != frames
            else None
        )
    )
    attributes = {
        name: value.decode() if isinstance(value, bytes) else value.item()
        for name, value in file.attrs.items()
    }
    digest = tables_digest(attributes, tables, file[frames].shape, file[frames].dtype)
    file.attrs["sha256"] = np.array(digest.encode(), h5py.string_dtype("utf-8", 64))


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("windows/clip", [0, 0, 0], "not in the order of its clips"),
        ("windows/clip", [0, 1, 0], "not in the order of its clips"),
        ("windows/clip", [1, 1, 1], "not in the order of its clips"),
        ("windows/clip", [0, 1, 2**63], "not in the order of its clips"),
        ("windows/start", [0, 0, 2**64 - 5], "beyond its clip"),
        ("windows/frames", [6, 10, 2**64 - 1], "beyond its clip"),
        ("scores/clip", np.full((2, 2), np.nan), "no numbers in"),
        ("clips/start", [0, 7], "one after the other"),
        ("clips/frames", [6, 2**64 - 6], "one after the other"),
        ("clips/name", [b"a", b""], "a clip has no name"),
    ],
)
def test_a_signed_scores_file_that_makes_no_sense_is_refused(tmp_path, table, values, message):
    path = tmp_path / "scores.h5"
    write_scores(path, example_scores())
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file[table][...] = np.array(values, file[table].dtype)
        sign(file, "scores/frame")
    with pytest.raises(ArtifactError, match=f"scores.h5: .*{message}"):
        open_scores(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shard", 8, "there is no shard 8 of 7"),
        ("shard", -1, "there is no shard -1 of 7"),
        ("shard", 2**62, "there is no shard"),
        ("n_shards", 0, "number of shards must be"),
        ("allow_truncated", 2, "other than 0 or 1"),
        ("clips/truncated", [0, 0, 0, 2], "other than 0 or 1"),
    ],
)
def test_a_signed_part_that_makes_no_sense_is_refused(path, name, value, message):
    with writer_of(path, shard=Shard(1, 7)) as writer:
        add(writer, NAMES[:1])
        writer.finish([])
    if isinstance(value, list):
        write_features(path)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        if isinstance(value, list):
            file[name][...] = value
        else:
            file.attrs[name] = np.int64(value)
        sign(file, "features/logmel")
    with pytest.raises(ArtifactError, match=f"features.h5: .*{message}"):
        open_features(path)


def test_the_shard_of_a_file_is_told_quickly_or_not_at_all(path):
    with writer_of(path, shard=Shard(2, 7)) as writer:
        add(writer, NAMES[1:2])
        writer.finish([])
    assert file_shard(path) == (Shard(2, 7), manifest_digest(NAMES))
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file.attrs["shard"] = np.int64(8)
    with pytest.raises(ArtifactError, match=r"features\.h5: there is no shard 8 of 7"):
        file_shard(path)
    path.write_text("x")
    with pytest.raises(ArtifactError, match=r"features\.h5: not an HDF5 file"):
        file_shard(path)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("config", to_json(dataclasses.replace(CONFIG, n_mels=9)), "8 mel bands, its settings 9"),
        ("config", '{"n_mels": -1}', "settings cannot be read"),
        ("config", "[" * 20_000, "settings cannot be read"),
    ],
)
def test_a_signed_features_file_that_makes_no_sense_is_refused(path, attribute, value, message):
    write_features(path)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file.attrs[attribute] = np.array(
            value.encode(), h5py.string_dtype("utf-8", len(value.encode()))
        )
        sign(file, "features/logmel")
    with pytest.raises(ArtifactError, match=f"features.h5: .*{message}"):
        open_features(path)


# Damage


@given(data=st.data())
@settings(same_folder, max_examples=80, derandomize=True)
@pytest.mark.parametrize("kind", ["features", "scores"])
def test_a_changed_byte_is_found_or_changes_nothing(tmp_path, kind, data):
    path, open_it = (
        tmp_path / f"{kind}.h5",
        {"features": open_features, "scores": open_scores}[kind],
    )
    if not path.exists():
        write_features(path) if kind == "features" else write_scores(path, example_scores())
        path.with_suffix(".original").write_bytes(path.read_bytes())
    content = bytearray(path.with_suffix(".original").read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content)
    expected = as_plain(open_it(path))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = open_it(path)
    except ArtifactError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).isprintable()
    else:
        assert as_plain(found) == expected


def as_plain(artifact: object) -> dict:
    return {
        name: value[:].tobytes() if isinstance(value, np.ndarray | StoredFrames) else value
        for name, value in vars(artifact).items()
    }


def test_a_truncated_file_is_refused(path):
    content = write_features(path)
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(ArtifactError):
            open_features(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not an HDF5"), (b"text", "not an HDF5"), (b"\x89HDF\r\n\x1a\n\x00" + bytes(99), "not")],
)
def test_what_is_no_features_file_is_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        open_features(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo.h5")
    for name, message in (("none.h5", "no such file"), (".", "not a regular file")):
        with pytest.raises(ArtifactError, match=message):
            open_features(tmp_path / name)
    with pytest.raises(ArtifactError, match="not a regular file"):
        open_features(tmp_path / "fifo.h5")


def test_values_that_are_not_finite_are_refused(path):
    frames = np.zeros((4, 8), "<f2")
    frames[2, 3] = np.nan
    with writer_of(path, names=["a.wav"]) as writer:
        writer.add(SourceClip("a.wav", 4, 16_000, 1, 0.1, 9, "00" * 32, 7), [frames.tobytes()])
        writer.finish([])
    with pytest.raises(ArtifactError, match="not finite"):
        open_features(path)
