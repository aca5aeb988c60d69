"""Merged parts are, byte for byte, what one job would have written, or they are refused."""

import dataclasses
import errno
import resource
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sedtool.atomic import claim, write_failures
from sedtool.cli import cli
from sedtool.config import DecodingConfig, ExtractConfig
from sedtool.errors import (
    ArtifactError,
    ConfigError,
    NothingUsableError,
    OutputExistsError,
    ResourceError,
)
from sedtool.extraction import extract
from sedtool.shards import WHOLE, PartRecord, Shard, read_part, write_part
from sedtool.store import (
    SourceClip,
    open_features,
    open_scores,
)
from sedtool.store.merge import check_siblings, merge
from sedtool.store.parts import KINDS as PART_KINDS
from sedtool.store.parts import open_features_part
from support.faults import Faults, fail
from support.features import CONFIG, features_writer
from support.parts import (
    FAILED,
    KINDS,
    MANIFEST,
    NAMES,
    fake_events,
    fake_features,
    fake_scores,
    fake_tags,
)

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "parts"
    path.mkdir()
    return path


def make_parts(folder: Path, kind: str, count: int = 3) -> list[Path]:
    make, suffix = KINDS[kind]
    shards = [Shard(number, count) for number in range(1, count + 1)]
    return [make(folder / f"{shard.number}{suffix}", shard) for shard in shards]


def output_of(folder: Path, kind: str) -> Path:
    return folder.parent / f"merged{KINDS[kind][1]}"


def whole_of(folder: Path, kind: str) -> bytes:
    make, suffix = KINDS[kind]
    path = folder.parent / f"whole{suffix}"
    return (path if path.exists() else make(path)).read_bytes()


@every_kind
@pytest.mark.parametrize("count", [2, 5, 30])
def test_merged_parts_are_the_file_of_one_job(folder, kind, count):
    """With 30 shards of 11 names, most parts are empty."""
    make_parts(folder, kind, count)
    output = output_of(folder, kind)
    result = merge([folder], output)
    assert output.read_bytes() == whole_of(folder, kind)
    assert (result.kind, result.n_parts, result.n_clips) == (kind, count, 9)
    assert result.missing == []
    expected = {"features", "events"} & {kind}
    assert (result.failures_path is not None) == bool(expected)
    names = {output.name, *(f"{output.name}.failures.tsv" for _ in expected)}
    found = {path.name for path in folder.parent.iterdir() if "whole" not in path.name}
    assert found == {"parts", *names}


@pytest.mark.parametrize("kind", ["features", "events"])
def test_merged_failures_are_those_of_one_job(folder, kind):
    make_parts(folder, kind)
    result = merge([folder], output_of(folder, kind))
    stage = {"features": "extract", "events": "infer"}[kind]
    expected = sorted((name, stage, error) for name, error in FAILED.items())
    reference = write_failures(folder.parent / "one", expected)
    assert reference is not None and result.failures_path is not None
    assert result.failures_path.read_bytes() == reference.read_bytes()
    assert result.failures == expected


@pytest.mark.parametrize("count", [2, 5])
def test_parts_of_an_extraction_merge_to_what_one_extraction_writes(
    make_clips, bad_files, folder, count
):
    audio = make_clips(7).parent
    whole = folder.parent / "whole.h5"
    extract([audio / "clips", audio / "bad"], whole, CONFIG)
    for number in range(1, count + 1):
        shard = ExtractConfig(shard=f"{number}/{count}")
        extract([audio / "clips", audio / "bad"], folder / f"{number}.h5", CONFIG, shard)
    output = folder.parent / "merged.h5"
    merge([folder], output)
    assert output.read_bytes() == whole.read_bytes()
    failures = [path.with_name(path.name + ".failures.tsv") for path in (output, whole)]
    assert failures[0].read_bytes() == failures[1].read_bytes()
    assert len(failures[0].read_text().splitlines()) > len(bad_files) - 5


@given(order=st.permutations(range(4)))
@settings(
    deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@every_kind
def test_the_order_and_the_names_of_parts_do_not_matter(folder, kind, order):
    if not list(folder.iterdir()):
        make_parts(folder, kind, 4)
    parts = [folder / f"{number + 1}{KINDS[kind][1]}" for number in order]
    output = output_of(folder, kind)
    merge(parts, output, overwrite=True)
    assert output.read_bytes() == whole_of(folder, kind)


@every_kind
def test_a_part_that_is_named_twice_is_taken_once(folder, kind):
    first, *_ = make_parts(folder, kind)
    link = folder.parent / f"link{first.suffix}"
    link.symlink_to(first)
    merge([first, folder, first, link], output_of(folder, kind))
    assert output_of(folder, kind).read_bytes() == whole_of(folder, kind)


def test_a_folder_gives_what_the_output_is_named_for(folder):
    make_parts(folder, "features")
    make_parts(folder, "tags")
    (folder / "notes.txt").write_text("x")
    (folder / "1.h5.failures.tsv").write_text("filename\tstage\terror\n")
    (folder / ".1.h5.lock").touch()
    (folder / ".2.h5").write_text("hidden")
    for kind in ("features", "tags"):
        merge([folder], output_of(folder, kind))
        assert output_of(folder, kind).read_bytes() == whole_of(folder, kind)


def test_the_output_may_stand_among_the_parts(folder):
    make_parts(folder, "features")
    for _ in range(2):
        merge([folder], folder / "all.h5", overwrite=True)
        assert (folder / "all.h5").read_bytes() == whole_of(folder, "features")


@every_kind
def test_a_pattern_gives_the_parts_it_matches(folder, kind):
    suffix = make_parts(folder, kind)[0].suffix
    output = folder / f"all{suffix}"
    for _ in range(2):
        merge([folder / f"*{suffix}"], output, overwrite=True)
        assert output.read_bytes() == whole_of(folder, kind)
    with pytest.raises(NothingUsableError, match=r"nothing matches the pattern .*x\*"):
        merge([folder / "x*"], output, overwrite=True)


def test_a_part_named_like_a_pattern_is_that_part(folder):
    first, *others = make_parts(folder, "features")
    merge([first.rename(folder / "[1].h5"), *others], output_of(folder, "features"))
    assert output_of(folder, "features").read_bytes() == whole_of(folder, "features")


def test_a_part_that_is_not_there_is_named_with_one_that_is(folder):
    first, *others = make_parts(folder, "features")
    wrong = first.with_name("1.h6")
    with pytest.raises(ArtifactError, match=r"1\.h6: no such file; did you mean .*1\.h5\?"):
        merge([wrong, *others], output_of(folder, "features"))


@every_kind
def test_an_output_that_is_a_part_is_refused(folder, kind):
    first, *others = make_parts(folder, kind)
    content = first.read_bytes()
    with pytest.raises(ConfigError, match="is an input"):
        merge([first, *others], first, overwrite=True)
    assert first.read_bytes() == content


def test_a_list_of_failures_never_stands_beside_an_older_merged_output(folder, monkeypatch):
    make_parts(folder, "features")
    output = output_of(folder, "features")
    output.write_text("old")

    def full(*_):
        raise ResourceError("the disk is full")

    monkeypatch.setitem(PART_KINDS, "features", (open_features_part, full))
    with pytest.raises(ResourceError):
        merge([folder], output, overwrite=True)
    assert not output.with_name(output.name + ".failures.tsv").exists()


@every_kind
def test_there_may_be_more_parts_than_files_can_be_open(folder, kind):
    make_parts(folder, kind, 40)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 20, limits[1]))
    try:
        merge([folder], output_of(folder, kind))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert output_of(folder, kind).read_bytes() == whole_of(folder, kind)


def test_progress_counts_parts(folder):
    parts = make_parts(folder, "features")
    seen: list[tuple[int, int, str]] = []
    merge(parts, output_of(folder, "features"), progress=lambda *report: seen.append(report))
    assert seen == [(1, 3, "1.h5"), (2, 3, "2.h5"), (3, 3, "3.h5")]


# Refusals


def refused(parts: list[Path], output: Path, message: str) -> str:
    """Merge, in vain and without a trace; return what is said."""
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(ArtifactError, match=message) as caught:
        merge(parts, output)
    assert str(caught.value).isprintable()
    assert sorted(output.parent.rglob("*")) == before
    return str(caught.value)


@every_kind
def test_missing_shards_are_named(folder, kind):
    parts = make_parts(folder, kind, 5)
    refused(parts[:3] + parts[4:], output_of(folder, kind), "^shard 4 of 5 is missing$")
    refused([parts[1], parts[3]], output_of(folder, kind), "^shards 1, 3, 5 of 5 are missing$")


def test_of_many_missing_shards_some_are_named(folder):
    part = fake_features(folder / "1.h5", Shard(3, 20))
    expected = "^shards 1, 2, 4, 5, 6 and 14 more of 20 are missing$"
    refused([part], output_of(folder, "features"), expected)


@every_kind
def test_a_shard_that_is_there_twice_is_refused(folder, kind):
    parts = make_parts(folder, kind)
    make, suffix = KINDS[kind]
    again = make(folder / f"again{suffix}", Shard(2, 3))
    expected = rf"2{suffix} and \S*again{suffix} are both shard 2/3$"
    refused([*parts, again], output_of(folder, kind), expected)


@every_kind
def test_a_whole_file_is_no_part(folder, kind):
    make, suffix = KINDS[kind]
    make_parts(folder, kind)
    whole = make(folder / f"whole{suffix}", WHOLE)
    expected = "not a part: (it was made without --shard|whole.tsv.part.json is not beside it)"
    refused([folder / f"1{suffix}", whole], output_of(folder, kind), expected)


OTHERS = [
    ("features", {"names": sorted([*NAMES, "c.wav"])}, "its list of clips differs"),
    ("features", {"shard": Shard(2, 4)}, "its number of shards is 4, and 3 in the other parts"),
    ("features", {"dtype": "f32"}, "its dtype is f32, and f16 in the other parts"),
    ("features", {"engine": "torchaudio"}, "its engine is torchaudio, and native"),
    ("features", {"allow_truncated": True}, "its allow_truncated is True, and False"),
    ("features", {"config": dataclasses.replace(CONFIG, fmin=50.0)}, "its fmin is 50.0, and 0.0"),
    ("features", {"config": dataclasses.replace(CONFIG, n_mels=8)}, "its n_mels is 8, and 16"),
    ("scores", {"manifest_sha256": "00" * 32}, "its list of clips differs"),
    ("scores", {"shard": Shard(2, 4)}, "its number of shards is 4, and 3"),
    ("scores", {"model_sha256": "00" * 32}, "its model differs from that of the other parts"),
    ("scores", {"settings": '{"window": 5}'}, 'its scoring is {"window": 5}, and {"window": 10}'),
    ("scores", {"classes": ("Dog", "Cat")}, "its list of classes differs"),
    ("scores", {"frame_rate": 25.0}, "its frame_rate is 25.0, and 12.5"),
    ("scores", {"decoding": DecodingConfig((0.1, 0.2), (0, 0), (0, 0))}, "its decoding differs"),
    ("events", {"manifest_sha256": "00" * 32}, "its list of clips differs"),
    ("events", {"shard": Shard(2, 4)}, "its number of shards is 4, and 3"),
    ("events", {"model_sha256": "00" * 32}, "its model differs"),
    ("events", {"settings": "other" * 9}, "its decoding or scoring differs"),
    ("tags", {"settings": "other" * 9}, "its decoding or scoring differs"),
]


@pytest.mark.parametrize(("kind", "changes", "message"), OTHERS)
def test_a_part_of_something_else_is_refused(folder, kind, changes, message):
    """Also where it comes first: what most parts say counts."""
    one, foreign, three = make_parts(folder, kind)
    foreign.unlink()
    make, _ = KINDS[kind]
    make(foreign, **({"shard": Shard(2, 3)} | changes))
    message = f"2{foreign.suffix}: {message}".replace("{", r"\{")
    refused([foreign, one, three], output_of(folder, kind), message)


def test_event_lists_with_and_without_confidence_are_not_mixed(folder):
    make_parts(folder, "events", 2)
    fake_events(folder / "2.tsv", Shard(2, 2), confidence=True)
    refused([folder], output_of(folder, "events"), r"2\.tsv: its first line differs from")


def test_a_clip_in_two_parts_is_refused(folder):
    """Parts that say that they are different, and are not."""
    for number in (1, 2):
        record = PartRecord("events", Shard(number, 2), MANIFEST, "", "", 1)
        (folder / f"{number}.tsv").write_text("filename\tonset\na\t1\n")
        write_part(folder / f"{number}.tsv", record)
    expected = r"1\.tsv and \S*2\.tsv both hold the clip a$"
    refused([folder], output_of(folder, "events"), expected)


@pytest.mark.parametrize("kind", ["features", "scores"])
def test_kinds_are_not_mixed(folder, kind):
    part, text = folder / "a.h5", folder / "b.tsv"
    KINDS[kind][0](part, Shard(1, 2))
    fake_tags(text, Shard(2, 2))
    refused([part, text], output_of(folder, kind), rf"the parts hold {kind} \(\S*a.h5\) and tags")


def test_a_folder_of_two_kinds_is_refused(folder):
    fake_features(folder / "f.h5", Shard(1, 2))
    fake_scores(folder / "s.h5", Shard(2, 2))
    refused([folder], output_of(folder, "features"), "hold features .* and scores")
    fake_events(folder / "e.tsv", Shard(1, 2))
    fake_tags(folder / "t.tsv", Shard(2, 2))
    refused([folder], output_of(folder, "tags"), "hold events .* and tags .*; name the files")


@every_kind
def test_a_damaged_part_is_refused(folder, kind):
    parts = make_parts(folder, kind)
    content = bytearray(parts[1].read_bytes())
    content[-30] ^= 8
    parts[1].write_bytes(content)
    refused(parts, output_of(folder, kind), rf"2{parts[1].suffix}: (damaged|changed since|its|a)")


def test_every_problem_is_named_up_to_five(folder):
    parts = make_parts(folder, "features", 9)
    for part in parts[1:7]:
        part.write_bytes(part.read_bytes()[:-100])
    said = refused(parts[:8], output_of(folder, "features"), "2.h5: ")
    assert [f"{n}.h5: " in said for n in range(1, 9)] == [False, *[True] * 5, False, False]
    assert said.endswith("; and 1 more")


def test_an_unfinished_part_says_how_far_it_is(folder):
    make_parts(folder, "features")
    (folder / "3.h5").unlink()
    with features_writer(folder / "3.h5", sorted(NAMES), shard=Shard(3, 3)) as writer:
        clip = SourceClip(sorted(NAMES)[2], 1, 8_000, 1, 0.025, 9, "00" * 32, 7)
        writer.add(clip, [bytes(2 * CONFIG.n_mels)])
    expected = r"3\.h5: part 3 of 3 is not complete \(1 of 3 clips\)$"
    refused([folder], output_of(folder, "features"), expected)
    refused([*folder.glob("*.h5"), folder / "3.h5"], output_of(folder, "features"), expected)


def test_a_text_part_that_was_killed_before_its_last_step_is_not_complete(folder):
    parts = make_parts(folder, "events")
    parts[1].unlink()
    refused(parts, output_of(folder, "events"), r"2\.tsv: not complete")
    refused([folder], output_of(folder, "events"), "shard 2 of 3 is missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"filename\tonset\na\t1\nb\t1\na\t2\n", "lines of a clip do not follow each other"),
        (b"filename\tonset\na\t1", "a line has no end"),
        (b"filename\tonset\n" + b"a" * 2**20 + b"\n", "a line has no end"),
        (b"filename\tonset\n\xff\t1\n", "cannot be read"),
    ],
    ids=["torn apart", "no end", "long", "no text"],
)
def test_a_text_part_that_makes_no_sense_is_refused(folder, content, message):
    make_parts(folder, "events")
    (folder / "2.tsv").write_bytes(content)
    write_part(folder / "2.tsv", PartRecord("events", Shard(2, 3), MANIFEST, "", "", 1))
    refused([folder], output_of(folder, "events"), rf"2\.tsv: .*{message}")


def test_parts_without_any_clip_are_nothing_to_merge(tmp_path):
    for number in (1, 2):
        path = tmp_path / f"{number}.h5"
        with features_writer(path, ["a.wav"], shard=Shard(number, 2)) as writer:
            writer.finish([("a.wav", "empty")] if number == 1 else [])
        assert open_features(path).names == []
    with pytest.raises(NothingUsableError, match="no clip in any of 2 parts"):
        merge([tmp_path], tmp_path / "all.h5")
    assert not (tmp_path / "all.h5").exists()


def test_what_is_no_part_is_refused(folder):
    output = output_of(folder, "features")
    with pytest.raises(NothingUsableError, match=r"no part in .*parts \(\*\.h5\)"):
        merge([folder], output)
    refused([folder / "none.h5"], output, "none.h5: no such file")
    (folder / "audio.h5").write_text("x")
    refused([folder], output, "audio.h5: not an HDF5 file that sedtool wrote")
    fake_tags(folder / "1.tsv", Shard(1, 2))
    with pytest.raises(
        ConfigError, match=r"the parts hold tags; .*merged\.h5 must not end in \.h5"
    ):
        merge([folder / "1.tsv"], output)


# Missing shards


@every_kind
def test_a_partial_result_holds_what_is_there_and_says_that_it_is_not_whole(folder, kind):
    parts = make_parts(folder, kind, 4)
    output = output_of(folder, kind)
    result = merge([parts[0], parts[3]], output, partial=True)
    assert result.missing == [2, 3]
    assert result.summary().endswith("not whole, as shards 2, 3 of 4 are missing")
    opener = {"features": open_features, "scores": open_scores}.get(kind, read_part)
    assert opener(output).shard == Shard(0, 4)
    refused([*parts, output], folder.parent / f"again{output.suffix}", "was merged with --partial")
    merge(parts, output, overwrite=True)
    assert output.read_bytes() == whole_of(folder, kind)
    assert not output.with_name(f"{output.name}.part.json").exists()


@every_kind
def test_partial_changes_nothing_where_no_shard_is_missing(folder, kind):
    make_parts(folder, kind)
    merge([folder], output_of(folder, kind), partial=True)
    assert output_of(folder, kind).read_bytes() == whole_of(folder, kind)


def test_partial_takes_no_damaged_part(folder):
    parts = make_parts(folder, "features")
    parts[1].write_bytes(parts[1].read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"2\.h5"):
        merge(parts, output_of(folder, "features"), partial=True)


# The output


@every_kind
def test_a_finished_output_is_refused_and_one_that_is_being_made_too(folder, kind):
    make_parts(folder, kind)
    output = output_of(folder, kind)
    output.write_text("old")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        merge([folder], output)
    assert output.read_text() == "old"
    with claim(output, overwrite=True), pytest.raises(ResourceError, match="another sedtool"):
        merge([folder], output, overwrite=True)
    assert output.read_text() == "old"


def test_an_extraction_of_the_same_output_is_not_disturbed(folder):
    make_parts(folder, "features")
    output = output_of(folder, "features")
    with (
        features_writer(output, NAMES),
        pytest.raises(ResourceError, match="another sedtool is making"),
    ):
        merge([folder], output)


@every_kind
def test_a_failing_disk_leaves_the_old_output_or_the_whole_new_one(folder, kind):
    parts = make_parts(folder, kind, 2)
    output = output_of(folder, kind)
    merge(parts, output)
    expected = output.read_bytes()
    for at in range(1, 100):
        output.write_text("old")
        faults = Faults(at, fail(errno.ENOSPC))
        try:
            with faults.installed():
                merge(parts, output, overwrite=True)
        except ResourceError:
            assert output.read_bytes() in (b"old", expected)
        if faults.count < at:
            break
    merge(parts, output, overwrite=True)
    assert output.read_bytes() == expected
    assert at > 4


def test_a_partial_text_never_stands_without_its_record(folder):
    """Else it would look whole."""
    parts = make_parts(folder, "events")[1:]
    output = output_of(folder, "events")
    for at in range(1, 100):
        faults = Faults(at, fail(errno.EIO))
        try:
            with faults.installed():
                merge(parts, output, partial=True)
        except ResourceError:
            pass
        if output.exists():
            assert read_part(output).shard == Shard(0, 3)
        if faults.count < at:
            break
        for path in folder.parent.glob("merged*"):
            path.unlink()
    assert at > 8


# Shards that the environment named


@pytest.mark.parametrize("kind", ["features", "scores", "events", "tags"])
def test_a_shard_of_the_environment_is_refused_where_a_sibling_says_otherwise(folder, kind):
    make, suffix = KINDS[kind]
    make(folder / f"other{suffix}", Shard(2, 7))
    output = folder / f"mine{suffix}"
    with pytest.raises(ConfigError, match=rf"other{suffix} .* 7 shards, not of 1; .* auto/7$"):
        check_siblings(output, WHOLE, MANIFEST)
    with pytest.raises(ConfigError, match="7 shards, not of 3"):
        check_siblings(output, Shard(3, 3), MANIFEST)
    check_siblings(output, Shard(3, 7), MANIFEST)
    check_siblings(output, WHOLE, "00" * 32)  # another list


def test_a_shard_of_the_environment_is_refused_where_an_unfinished_part_says_otherwise(folder):
    """Also by the output itself, whose task is submitted again alone."""
    output = folder / "2.h5"
    with features_writer(output, sorted(NAMES), shard=Shard(2, 7)) as writer:
        writer.add(
            SourceClip(sorted(NAMES)[1], 1, 8_000, 1, 0.025, 9, "00" * 32, 7),
            [bytes(2 * CONFIG.n_mels)],
        )
    for path in (output, folder / "mine.h5"):
        with pytest.raises(ConfigError, match=r"2\.h5 in the folder of .* 7 shards, not of 1"):
            check_siblings(path, WHOLE, MANIFEST)


def test_what_is_no_part_says_nothing_of_shards(folder):
    fake_features(folder / "whole.h5")
    (folder / "text.h5").write_text("x")
    (folder / "x.part.json").write_text("{}")
    (folder / "x.journal").write_text("{}")
    check_siblings(folder / "mine.h5", Shard(2, 7), MANIFEST)
    check_siblings(folder / "none" / "mine.h5", Shard(2, 7), MANIFEST)


# The command


def test_the_command_says_what_was_merged(folder):
    make_parts(folder, "features")
    output = output_of(folder, "features")
    result = CliRunner().invoke(cli, ["merge", str(folder), "-o", str(output)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert (
        f"3 parts, 9 clips (features); 2 files had failed, see {output}.failures" in result.stderr
    )
    assert output.read_bytes() == whole_of(folder, "features")
    again = CliRunner().invoke(cli, ["merge", str(folder), "-o", str(output)])
    assert (again.exit_code, again.stderr) == (
        0,
        f"nothing to do: {output} is finished and the same\n",
    )


def test_the_command_ends_with_5_where_shards_are_missing(folder):
    parts = make_parts(folder, "features")
    output = output_of(folder, "features")
    command = ["merge", str(parts[0]), str(parts[2]), "-o", str(output)]
    result = CliRunner().invoke(cli, command)
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr == "Error: shard 2 of 3 is missing\n"
    result = CliRunner().invoke(cli, [*command, "--partial"])
    assert result.exit_code == 0
    assert "not whole, as shard 2 of 3 is missing" in result.stderr


def test_the_summary_names_the_next_command(make_clips, tmp_path):
    folder = make_clips(4)
    for number in (1, 2):
        part = tmp_path / "parts" / f"{number}.h5"
        part.parent.mkdir(exist_ok=True)
        extract([folder], part, CONFIG, ExtractConfig(shard=f"{number}/2"))
    output = str(tmp_path / "f.h5")
    done = CliRunner().invoke(cli, ["merge", str(tmp_path / "parts"), "-o", output])
    assert done.exit_code == 0
    assert done.stderr.endswith(f"next: sedtool train -o RUN --features {output} --weak WEAK.tsv\n")
