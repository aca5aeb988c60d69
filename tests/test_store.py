"""features.h5 and scores.h5 come back as they were written, or are refused in one line."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sedtool.atomic import resource_errors
from sedtool.config import DecodingConfig, FeatureConfig, to_json
from sedtool.errors import ArtifactError, ConfigError, OutputExistsError, ResourceError
from sedtool.shards import WHOLE, Shard, manifest_digest
from sedtool.store import (
    FeaturesJob,
    FeaturesWriter,
    Scores,
    ScoresHeader,
    ScoresWriter,
    SourceClip,
    Unfinished,
    file_format,
    file_shard,
    is_hdf5,
    open_features,
    open_scores,
    resumes,
    unfinished,
)
from sedtool.store.layout import tables_digest
from support.score_files import write_scores

CONFIG = FeatureConfig(n_mels=8)
NAMES = ["a/1.wav", "a/2 é [/].wav", "b/日本.flac", "b/4.wav", "bad.wav"]
JOB = FeaturesJob(CONFIG, NAMES)
FAILURES = [("bad.wav", "the file is empty")]
LENGTHS = {name: 3 + 2 * i for i, name in enumerate(NAMES[:4])}  # frames
same_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def frames_of(name: str) -> np.ndarray:
    rng = np.random.default_rng(LENGTHS[name])
    return rng.standard_normal((LENGTHS[name], CONFIG.n_mels)).astype("<f2")


def clip_of(name: str) -> SourceClip:
    n_frames = LENGTHS[name]
    return SourceClip(name, n_frames, 44_100, 2, n_frames / 40, 1_000 + n_frames, "ab" * 32, 7)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def add(writer: FeaturesWriter, names: list[str]) -> None:
    for name in names:
        content = frames_of(name).tobytes()
        writer.add(clip_of(name), [content[:10], content[10:]])


def write_features(path: Path, order: list[str] = NAMES[:4]) -> bytes:
    with FeaturesWriter(path, JOB, overwrite=True) as writer:
        add(writer, [name for name in order if name not in writer.done])
        writer.finish(FAILURES)
    return path.read_bytes()


def example_scores() -> Scores:
    rng = np.random.default_rng(3)
    window = rng.random((3, 2)).astype(np.float32)
    return Scores(
        classes=("Dog", "Air horn, truck horn"),
        names=["a.wav", "b.wav"],
        start=np.array([0, 6]),
        frames=np.array([6, 15]),
        duration=np.array([0.48, 1.2]),
        frame=rng.random((21, 2)).astype(np.float32),
        clip=np.stack([window[0], window[1:].max(axis=0)]),
        window_clip=np.array([0, 1, 1]),
        window_start=np.array([0, 0, 5]),
        window_frames=np.array([6, 10, 10]),
        window=window,
        frame_rate=12.5,
        decoding=DecodingConfig((0.3, 0.4), (0.5, 0.6), (0.0, 0.3)),
        model_sha256="cd" * 32,
    )


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
    assert isinstance(features.data, np.memmap)
    for i, name in enumerate(features.names):
        assert np.array_equal(features.clip(i), frames_of(name))
        assert features.clip(i).flags.aligned


def test_float32_features_are_read_too(path):
    frames = np.random.default_rng(0).standard_normal((5, 8)).astype("<f4")
    with FeaturesWriter(path, FeaturesJob(CONFIG, ["a.wav"], "f32")) as writer:
        writer.add(SourceClip("a.wav", 5, 16_000, 1, 0.1, 9, "00", 7), [frames.tobytes()])
        writer.finish([])
    assert np.array_equal(open_features(path).data, frames)


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
    from sedtool.store.writing import Frames, _headers

    frames = Frames((5_000_000, 64), "<f2", list)
    sparse, hole, end = _headers(_LAYOUT, {"config": "{}"}, {"/clips/size": np.zeros(9)}, frames)
    assert end - hole >= 5_000_000 * 64 * 2
    assert len(sparse._pages) * sparse.PAGE < 100_000


def test_a_part_says_which_it_is_and_of_which_list(path):
    with FeaturesWriter(path, dataclasses.replace(JOB, shard=Shard(2, 2))) as writer:
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
    with FeaturesWriter(path, dataclasses.replace(JOB, shard=Shard(5, 9))) as writer:
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
    with FeaturesWriter(path, JOB) as writer:
        writer.finish(FAILURES)
    with pytest.raises(ArtifactError, match=r"features\.h5: there is no clip in it"):
        open_features(path)
    with ScoresWriter(tmp_path / "scores.h5", header(example_scores())):
        pass
    with pytest.raises(ArtifactError, match=r"scores\.h5: there is no clip in it"):
        open_scores(tmp_path / "scores.h5")


def test_clips_that_were_truncated_stay_marked(path):
    with FeaturesWriter(path, dataclasses.replace(JOB, allow_truncated=True)) as writer:
        add(writer, [NAMES[0]])
        clip = dataclasses.replace(clip_of(NAMES[1]), truncated=True)
        writer.add(clip, [frames_of(NAMES[1]).tobytes()])
    with FeaturesWriter(path, dataclasses.replace(JOB, allow_truncated=True)) as writer:
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
            assert np.array_equal(value, expected), field.name
        else:
            assert value == expected, field.name
    assert isinstance(found.frame, np.memmap)
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
    with FeaturesWriter(path, dataclasses.replace(JOB, shard=Shard(1, 7))) as writer:
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
    with FeaturesWriter(path, dataclasses.replace(JOB, shard=Shard(2, 7))) as writer:
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
        name: value.tobytes() if isinstance(value, np.ndarray) else value
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


# Hostile files: right in all but one thing, and harmless to open


def external_link(file: h5py.File, secret: Path) -> None:
    del file["clips"]
    file["clips"] = h5py.ExternalLink(str(secret), "/clips")


def soft_link(file: h5py.File, secret: Path) -> None:
    del file["clips/size"]
    file["clips/size"] = h5py.SoftLink("/clips/frames")


def external_storage(file: h5py.File, secret: Path) -> None:
    del file["features/logmel"]
    shape = (24, 8)
    file.create_dataset(
        "features/logmel", shape, "<f2", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
    )


def virtual(file: h5py.File, secret: Path) -> None:
    del file["features/logmel"]
    layout = h5py.VirtualLayout((24, 8), "<f2")
    layout[:] = h5py.VirtualSource(str(secret), "features/logmel", (24, 8))
    file.create_virtual_dataset("features/logmel", layout)


def chunked(file: h5py.File, secret: Path) -> None:
    del file["features/logmel"]
    file.create_dataset("features/logmel", (24, 8), "<f2", chunks=(4, 8), compression="gzip")


def huge(file: h5py.File, secret: Path) -> None:
    del file["features/logmel"]
    file.create_dataset("features/logmel", (2**50, 8), "<f2", chunks=(4, 8))


def compact(file: h5py.File, secret: Path) -> None:
    del file["clips/size"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file["clips"].id, b"size", h5py.h5t.STD_U64LE, space, plist)


def wrong_type(file: h5py.File, secret: Path) -> None:
    del file["clips/size"]
    file["clips/size"] = np.zeros(4, ">u8")


def wrong_rank(file: h5py.File, secret: Path) -> None:
    del file["clips/size"]
    file["clips/size"] = np.zeros((4, 1), "<u8")


def compound(file: h5py.File, secret: Path) -> None:
    del file["clips/size"]
    file["clips/size"] = np.zeros(4, [("a", "<u4"), ("b", "<u4")])


def variable_length(file: h5py.File, secret: Path) -> None:
    del file["clips/name"]
    file["clips/name"] = ["a", "b", "c", "d"]


def group_for_data(file: h5py.File, secret: Path) -> None:
    del file["clips/size"]
    file.create_group("clips/size")


def data_for_group(file: h5py.File, secret: Path) -> None:
    del file["failures"]
    file["failures"] = np.zeros(3)


def cycle(file: h5py.File, secret: Path) -> None:
    del file["failures"]
    file["failures"] = file["/"]


def foreign_member(file: h5py.File, secret: Path) -> None:
    file["clips/more"] = np.zeros(3)


def missing_member(file: h5py.File, secret: Path) -> None:
    del file["clips/size"]


def other_table(file: h5py.File, secret: Path) -> None:
    file["clips/size"][0] = 5


def foreign_attribute(file: h5py.File, secret: Path) -> None:
    file.attrs["more"] = 1


def wrong_attribute(file: h5py.File, secret: Path) -> None:
    file.attrs["shard"] = "one"


def long_attribute(file: h5py.File, secret: Path) -> None:
    file.attrs["shard"] = np.zeros(1000, "<i8")


def newer(file: h5py.File, secret: Path) -> None:
    file.attrs["format_version"] = 3


def other_format(file: h5py.File, secret: Path) -> None:
    file.attrs["format"] = "elsewhere"


def no_format(file: h5py.File, secret: Path) -> None:
    del file.attrs["format"]


HOSTILE: dict[Callable[[h5py.File, Path], None], str] = {
    external_link: "link out of itself",
    soft_link: "link out of itself",
    external_storage: "not stored in one piece inside the file",
    virtual: "not stored in one piece inside the file",
    chunked: "not stored in one piece inside the file",
    huge: "not stored in one piece inside the file",
    compact: "not stored in one piece inside the file",
    wrong_type: "clips/size is of type >u8, not <u8",
    wrong_rank: "other than 1 axes",
    compound: "clips/size is of type",
    variable_length: "clips/name is",
    group_for_data: "clips/size is not a data set",
    data_for_group: "failures holds other things",
    cycle: "failures holds other things",
    foreign_member: "clips holds other things",
    missing_member: "clips holds other things",
    other_table: "tables do not match their digest",
    foreign_attribute: "attributes are missing or foreign",
    wrong_attribute: "attribute shard is of type",
    long_attribute: "attribute shard is not a single value",
    newer: "format_version is 3, and this sedtool reads 2",
    other_format: "attribute format is not a text of fixed length",
    no_format: "it has no format attribute",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_a_hostile_file_is_refused_and_nothing_else_is_opened(tmp_path, path, change):
    secret = tmp_path / "secret.h5"
    write_features(secret)
    write_features(path)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        change(file, secret)
    with pytest.raises(ArtifactError, match=HOSTILE[change]) as caught:
        open_features(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_values_that_are_not_finite_are_refused(path):
    frames = np.zeros((4, 8), "<f2")
    frames[2, 3] = np.nan
    with FeaturesWriter(path, FeaturesJob(CONFIG, ["a.wav"])) as writer:
        writer.add(SourceClip("a.wav", 4, 16_000, 1, 0.1, 9, "00", 7), [frames.tobytes()])
        writer.finish([])
    with pytest.raises(ArtifactError, match="not finite"):
        open_features(path)


# Interruptions


def interrupt(path: Path, names: list[str]) -> None:
    """Leave a spool with these clips, as a killed run does."""
    with FeaturesWriter(path, JOB, overwrite=True) as writer:
        add(writer, names)


@given(order=st.permutations(NAMES[:4]), stops=st.lists(st.integers(0, 4), max_size=3))
@settings(same_folder, max_examples=15)
def test_the_order_and_interruptions_of_the_work_change_no_byte(tmp_path, order, stops):
    whole = write_features(tmp_path / "whole.h5")
    path = tmp_path / "features.h5"
    path.unlink(missing_ok=True)
    for stop in sorted(stops):
        with FeaturesWriter(path, JOB) as writer:
            add(writer, [name for name in order[:stop] if name not in writer.done])
    assert write_features(path, order) == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["features.h5", "whole.h5"]


def test_a_rerun_knows_what_is_done(path):
    interrupt(path, NAMES[:2])
    with FeaturesWriter(path, JOB) as writer:
        assert writer.done == {name: clip_of(name) for name in NAMES[:2]}


def test_a_clip_that_is_done_again_replaces_the_first(path):
    whole = write_features(path)
    wrong = dataclasses.replace(clip_of(NAMES[0]), n_frames=1)
    with FeaturesWriter(path, JOB, overwrite=True) as writer:
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
    with FeaturesWriter(path, JOB) as writer:
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
    job = dataclasses.replace(JOB, **other)
    before = contents(path.parent)
    key = "manifest_sha256" if "names" in other else next(iter(other))
    with pytest.raises(OutputExistsError, match=rf"differs in: .*{key}.*--overwrite"):
        FeaturesWriter(path, job).__enter__()
    assert contents(path.parent) == before
    with FeaturesWriter(path, job, overwrite=True) as writer:
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
        FeaturesWriter(path, dataclasses.replace(JOB, dtype="f32")).__enter__()
    assert path.read_bytes() == finished
    assert write_features(path) == finished  # the journal's own job goes on


@pytest.mark.parametrize("journal", [None, b"", b'{"clips": 5', b"\xff\n", b"[1]\n"], ids=ascii)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_holds_no_job_resumes_nothing(path, journal, overwrite):
    if journal is not None:
        path.with_name("features.h5.journal").write_bytes(journal)
    assert not resumes(path, {"clips": 5}, overwrite)


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
        FeaturesWriter(path, JOB).__enter__()
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
            FeaturesWriter(path, JOB).__enter__()
    assert contents(path.parent) == before


def test_a_second_writer_stops_at_once_and_the_first_is_not_disturbed(path):
    with FeaturesWriter(path, JOB) as writer:
        add(writer, NAMES[:2])
        for _ in range(2):
            with (
                pytest.raises(ResourceError, match=r"another sedtool is making .*features\.h5"),
                FeaturesWriter(path, JOB),
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
    with pytest.raises(OutputExistsError), FeaturesWriter(path, JOB):
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
        FeaturesWriter(path, JOB, overwrite=True),
        pytest.raises(ResourceError, match="another sedtool is making"),
        FeaturesWriter(path, JOB, overwrite=True),
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
    with FeaturesWriter(path, dataclasses.replace(JOB, shard=Shard(2, 3))) as writer:
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
        FeaturesWriter(tmp_path, JOB),
    ):
        pass
    with pytest.raises(ConfigError, match="dtype must be one of f16, f32, not 'f64'"):
        FeaturesJob(CONFIG, NAMES, "f64")
    with (
        pytest.raises(ResourceError, match="the folder does not exist"),
        FeaturesWriter(tmp_path / "none" / "f.h5", JOB),
    ):
        pass
    with pytest.raises(ResourceError, match="the folder does not exist"):
        write_scores(tmp_path / "none" / "s.h5", example_scores())


def test_a_file_size_limit_is_a_resource_error(path):
    with pytest.raises(ResourceError, match="larger than is allowed"), resource_errors(path):
        raise OSError(27, "File too large")
