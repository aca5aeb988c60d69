"""The same command on another day: nothing to do, or only what is new; the bytes of a fresh run."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sedtool.checkpoint import load_model, save_model
from sedtool.config import ExtractConfig, InferConfig
from sedtool.errors import ArtifactError, ConfigError, OutputExistsError
from sedtool.extraction import extract
from sedtool.inference import InferOutputs, infer
from sedtool.store import open_features
from sedtool.store.made import made_path
from support.command_lines import refused, save_small_model
from support.command_lines import run as command
from support.extraction import run
from support.features import CONFIG

UPDATE = ExtractConfig(update=True)


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "features.h5"


@pytest.fixture
def folder(make_clips):
    return make_clips(4)


def record(path, seconds: float = 0.3, seed: int = 99) -> None:
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * 16_000))
    soundfile.write(path, wave, 16_000)


def fresh(folder, output, **settings) -> bytes:
    """Return the bytes of a run that knows of none before it."""
    path = output.with_name("fresh.h5")
    run(folder, path, **settings)
    return path.read_bytes()


@pytest.fixture
def decoded(monkeypatch):
    """The names of the clips that were decoded, in order."""
    from sedtool import extraction

    names, whole = [], extraction.extract_clip

    def noted(name, task, stop):
        names.append(name)
        return whole(name, task, stop)

    monkeypatch.setattr(extraction, "extract_clip", noted)
    return names


def updated(folder, output, decoded, **settings):
    """Update an output; return what was done, and the names that were decoded."""
    decoded.clear()
    result = extract([folder], output, CONFIG, ExtractConfig(update=True, **settings))
    names = sorted(decoded)
    assert output.read_bytes() == fresh(folder, output, **settings)
    return result, names


@pytest.mark.parametrize("keeps_record", [True, False], ids=["record", "digests"])
def test_a_folder_that_grows_every_day_ends_in_the_bytes_of_a_fresh_run(
    folder, output, decoded, keeps_record
):
    (folder / "broken.wav").write_bytes(b"")
    result, names = updated(folder, output, decoded)  # where there is none, as without --update
    assert (result.n_clips, len(names), result.changes) == (4, 5, "")
    days = ["2 new, 1 changed, 1 gone", "1 new, 1 changed, 2 gone"]
    if not keeps_record:  # nothing says that what failed is as it was
        days[0] = "2 new, 2 changed, 1 gone"
    for day, expected in enumerate(days):
        if not keeps_record:
            made_path(output).unlink()
        gone, changed = sorted(folder.glob("?/*"))[:2]
        gone.rename(folder / f"renamed-{day}.wav") if day == 0 else gone.unlink()
        record(changed, seed=day)
        record(folder / f"day-{day}.wav", seed=day)
        if day:
            (folder / "broken.wav").unlink()
        result, names = updated(folder, output, decoded)
        assert result.changes == expected
        assert len(names) == (4, 2)[day]  # what had failed is tried again
        assert result.n_kept == result.n_clips - (3, 2)[day]
        assert f"({expected}, {result.n_kept} taken over)" in str(result)
    result, names = updated(folder, output, decoded)
    assert (result.is_done, names) == (True, [])


def test_a_file_that_was_only_touched_is_not_decoded_again(folder, output, decoded):
    run(folder, output)
    os.utime(folder / "a" / "000.wav")
    result, names = updated(folder, output, decoded)
    assert (result.is_done, names) == (True, [])


def test_two_files_of_one_size_that_change_places_are_decoded_again(folder, output, decoded):
    record(folder / "x.wav", seed=1)
    record(folder / "y.wav", seed=2)
    run(folder, output)
    (folder / "x.wav").rename(folder / "z")
    (folder / "y.wav").rename(folder / "x.wav")
    (folder / "z").rename(folder / "y.wav")
    _, names = updated(folder, output, decoded)
    assert names == ["x.wav", "y.wav"]


def test_a_part_is_updated_like_a_whole(folder, output, decoded):
    shard = {"shard": "2/2"}
    run(folder, output, **shard)
    record(folder / "z.wav")  # which is in the first part
    with pytest.raises(OutputExistsError, match=r"--update to .*\(other shards differ\)"):
        extract([folder], output, CONFIG, ExtractConfig(**shard))
    assert updated(folder, output, decoded, **shard)[1] == []
    record(folder / "y.wav")  # which moves the other one to the second
    assert updated(folder, output, decoded, **shard)[1] == ["z.wav"]


def test_long_clips_are_taken_over_in_pieces(folder, output, decoded, monkeypatch):
    monkeypatch.setattr("sedtool.store.features.CHUNK_SIZE", 256)
    run(folder, output)
    record(folder / "new.wav")
    assert updated(folder, output, decoded)[1] == ["new.wav"]


def test_the_same_command_again_has_nothing_to_do(folder, output, decoded):
    (folder / "broken.wav").write_bytes(b"")
    line = ("extract", folder, "-o", output, "--tolerate", "1")
    command(*line)
    before, stamp = output.read_bytes(), output.stat()
    failures = output.with_name("features.h5.failures.tsv")
    failures.unlink()
    decoded.clear()
    said = command(*line).stderr
    assert said.startswith("nothing to do: 5 files, finished and the same -> ")
    said = command(*line[:-2], exit_code=3).stderr
    assert f"Error: 1 of 5 files could not be used; see {failures}" in said
    assert failures.exists() and "1 failed" not in said
    assert "nothing to do" in command(*line[:-2], "--dry-run").stderr
    assert (decoded, output.read_bytes(), output.stat()) == ([], before, stamp)
    said = command(*line, "--update").stderr  # what had failed may be better now
    assert "(0 new, 0 changed, 0 gone, 4 taken over), 1 failed" in said
    assert decoded == ["broken.wav"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--n-mels 32", "n_mels is 64 there and 32 here"),
        (
            "--channel 0 --fmin 50",
            "channel is 'mean' there and '0' here; fmin is 0.0 there and 50.0 here",
        ),
        ("--dtype f32", "dtype is 'f16' there and 'f32' here"),
        ("--allow-truncated", "allow_truncated is False there and True here"),
        ("--shard 1/2", "shard is '1/1' there and '1/2' here"),
    ],
)
def test_other_settings_are_named_and_nothing_is_taken_over(folder, output, options, said):
    command("extract", folder, "-o", output)
    before = output.read_bytes()
    record(folder / "new.wav")
    for more in ([], ["--update"], ["--update", "--dry-run"]):
        line = refused("extract", folder, "-o", output, *options.split(), *more)
        assert f"exists; give --overwrite to replace it, or another name ({said}" in line
    assert output.read_bytes() == before


def test_another_version_is_another_setting(folder, output, monkeypatch):
    command("extract", folder, "-o", output)
    monkeypatch.setattr("sedtool.store.spool.__version__", "99.0")
    said = refused("extract", folder, "-o", output, "--update")
    assert "(sedtool_version is '" in said and " there and '99.0' here)" in said


def test_other_files_are_named_with_what_takes_them_in(folder, output):
    command("extract", folder, "-o", output)
    for number in range(7):
        record(folder / f"new-{number}.wav")
    record(folder / "a" / "000.wav")
    (folder / "b" / "001.flac").unlink()
    said = refused("extract", folder, "-o", output)
    assert (
        "exists; give --update to take over what is unchanged, --overwrite to make all anew, or "
        "another name (7 new: new-0.wav, new-1.wav, new-2.wav, new-3.wav, new-4.wav and 2 more; 1 "
        "changed: a/000.wav; 1 gone: b/001.flac)"
    ) in said
    planned = command("extract", folder, "-o", output, "--update", "--dry-run").stderr
    assert planned.startswith("7 new, 1 changed, 1 gone, 2 taken over; left:\n8 files, 2.4 s of au")
    command("extract", folder, "-o", output, "--update")
    assert len(open_features(output).names) == 10


def test_an_update_is_no_overwriting(folder, output):
    said = refused("extract", folder, "-o", output, "--update", "--overwrite")
    assert "--update keeps what --overwrite makes anew" in said
    with pytest.raises(ConfigError):
        ExtractConfig(update=True, overwrite=True)
    output.write_text("mine")
    assert "exists; give --overwrite" in refused("extract", folder, "-o", output, "--update")
    assert output.read_text() == "mine"


def test_nothing_damaged_is_taken_over(folder, output):
    run(folder, output)
    content = bytearray(output.read_bytes())
    frames = open_features(output).data
    content[frames.offset + 1] ^= 1
    output.write_bytes(content)
    record(folder / "new.wav")
    with pytest.raises(ArtifactError, match="does not match its digest"):
        extract([folder], output, CONFIG, UPDATE)
    assert output.read_bytes() == content


def test_what_an_interrupted_run_has_done_is_kept_though_the_folder_grew(folder, output, decoded):
    def interrupt(done, total, name):
        if name.startswith("b/"):
            raise KeyboardInterrupt

    for day in range(2):  # of a first run, then of an update
        with pytest.raises(KeyboardInterrupt):
            extract([folder], output, CONFIG, UPDATE, progress=interrupt)
        record(folder / f"new-{day}.wav", seed=day)
        with pytest.raises(OutputExistsError, match=r"differs in: clips|--update"):
            extract([folder], output, CONFIG)
        result, names = updated(folder, output, decoded)
        assert (result.n_resumed, names) == [
            (3, ["b/003.aiff", "new-0.wav"]),
            (1, ["b/003.aiff", "new-1.wav"]),
        ][day]
        record(folder / "b" / "001.flac", seed=day)
        record(folder / "b" / "003.aiff", seed=day)


def test_an_output_that_was_moved_with_its_folder_is_updated(folder, output, decoded, tmp_path):
    run(folder, output)
    shutil.move(folder, tmp_path / "moved")
    record(tmp_path / "moved" / "new.wav")
    assert updated(tmp_path / "moved", output, decoded)[1] == ["new.wav"]


# infer


CPU = InferConfig(device="cpu")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture(params=["events", "all", "tags", "jsonl"])
def kinds(request):
    return request.param


def outputs_in(folder, kinds="events", **how) -> InferOutputs:
    folder.mkdir(exist_ok=True)
    events = folder / ("e.jsonl" if kinds == "jsonl" else "e.tsv")
    if kinds == "jsonl":
        return InferOutputs(events, format="jsonl", confidence=True, **how)
    if kinds == "tags":
        return InferOutputs(weak=folder / "w.tsv", **how)
    if kinds == "events":
        return InferOutputs(events, **how)
    return InferOutputs(events, folder / "s.h5", folder / "w.tsv", confidence=True, **how)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".made"}


def inferred(model, inputs, folder, kinds="events", config=CPU):
    """Update what is in a folder; return what was done. It ends as a run that knows of none."""
    result = infer(model, inputs, config, outputs_in(folder, kinds, update=True))
    fresh = folder.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    infer(model, inputs, config, outputs_in(fresh, kinds))
    assert contents(folder) == contents(fresh)
    return result


def test_a_list_of_a_folder_that_grows_every_day_ends_in_the_bytes_of_a_fresh_run(
    model, folder, tmp_path, kinds
):
    out = tmp_path / "out"
    (folder / "broken.wav").write_bytes(b"")
    assert inferred(model, [folder], out, kinds).changes == ""
    for day, expected in enumerate(("2 new, 1 changed, 1 gone", "1 new, 1 changed, 2 gone")):
        gone, changed = sorted(folder.glob("?/*"))[:2]
        gone.rename(folder / f"renamed-{day}.wav") if day == 0 else gone.unlink()
        record(changed, 1.5, seed=day)
        record(folder / f"day-{day}.wav", 0.4, seed=day)
        if day:
            (folder / "broken.wav").unlink()
        result = inferred(model, [folder], out, kinds)
        assert (result.changes, result.n_kept) == (expected, result.n_clips - (3, 2)[day])
        assert f"({expected}, {result.n_kept} taken over)" in str(result)
        assert result.audio_seconds < 3  # of those that are new
    assert inferred(model, [folder], out, kinds).is_done


def test_what_is_made_of_features_grows_with_them(model, folder, tmp_path, output):
    features = output.with_name("f.h5")
    command("extract", folder, "-o", features)
    assert inferred(model, [features], tmp_path / "a").n_kept == 0
    record(folder / "new.wav")
    record(folder / "a" / "000.wav")
    command("extract", folder, "-o", features, "--update")
    result = inferred(model, [features], tmp_path / "a")
    assert (result.changes, result.n_kept) == ("1 new, 1 changed, 0 gone", 3)
    assert inferred(model, [features], tmp_path / "a").is_done


def test_other_scores_are_decoded_anew(model, folder, tmp_path):
    line = ("infer", model, "--device", "cpu")
    command(*line, folder, "-o", "/dev/null", "--scores", tmp_path / "s.h5")
    assert inferred(model, [tmp_path / "s.h5"], tmp_path / "a", "all").n_kept == 0
    assert inferred(model, [tmp_path / "s.h5"], tmp_path / "a", "all").is_done
    record(folder / "new.wav")
    command(*line, folder, "-o", "/dev/null", "--scores", tmp_path / "s.h5", "--update")
    result = inferred(model, [tmp_path / "s.h5"], tmp_path / "a", "all")
    assert (result.changes, result.n_kept) == ("1 new, 4 changed, 0 gone", 0)


def test_the_same_inference_again_has_nothing_to_do(model, folder, tmp_path, monkeypatch):
    (folder / "broken.wav").write_bytes(b"")
    events, tags = tmp_path / "e.tsv", tmp_path / "w.tsv"
    line = ("infer", model, folder, "-o", events, "--weak", tags, "--device", "cpu")
    first = command(*line, exit_code=3)
    before = events.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["sedtool.inference.infer"], "score_clips", None)
        again = command(*line, exit_code=3)
        command(*line, "--tolerate", 1)
    assert again.stderr.startswith("nothing to do: 5 clips, finished and the same -> ")
    said = "Error: 1 of 5 clips could not be used (broken.wav: "
    assert said in first.stderr and said in again.stderr
    assert events.stat().st_mtime_ns == before
    assert "nothing to do" in command(*line, "--dry-run").stderr
    said = command(*line, "--update", exit_code=3).stderr
    assert "(0 new, 0 changed, 0 gone, 4 taken over), 1 failed" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--threshold 0.3", "thresholds is [0.0, 0.0] there and [0.3, 0.3] here"),
        (
            "--min-duration 0.1 --median 0.4",
            "min_duration is 0.0 there and 0.1 here; windows is [",
        ),
        ("--window 5 --overlap 0", "overlap is 0.5 there and 0.0 here; window is 10.0 there and 5"),
        ("--batch-size 2", "batch_size is 8 there and 2 here"),
        ("--allow-truncated", "allow_truncated is False there and True here"),
        ("--confidence", "confidence is False there and True here"),
        ("--scores {}/s.h5", "outputs is ['events'] there and ['events', 'scores'] here"),
    ],
)
def test_other_settings_of_a_list_are_named(model, folder, tmp_path, options, said):
    events = tmp_path / "e.tsv"
    line = ("infer", model, folder, "-o", events, "--device", "cpu")
    command(*line)
    before = events.read_bytes()
    record(folder / "new.wav")
    options = options.format(tmp_path).split()
    for more in ([], ["--update"], ["--update", "--dry-run"]):
        told = refused(*line, *options, *more)
        assert f"exists; give --overwrite to replace it, or another name ({said}" in told
    assert events.read_bytes() == before


def test_another_model_is_named(model, folder, tmp_path):
    line = (folder, "-o", tmp_path / "e.tsv", "--device", "cpu")
    command("infer", model, *line)
    other = load_model(model)
    with torch.no_grad():
        next(other.detector.parameters()).add_(1.0)
    save_model(other_path := tmp_path / "m.safetensors", other)
    assert "(model_sha256 differs)" in refused("infer", other_path, *line, "--update")


def test_other_files_of_a_list_are_named(model, folder, tmp_path):
    line = ("infer", model, folder, "-o", tmp_path / "e.tsv", "--device", "cpu")
    command(*line)
    record(folder / "new.wav")
    (folder / "b" / "001.flac").unlink()
    said = refused(*line)
    assert "give --update to take over what is unchanged" in said
    assert said.endswith("(1 new: new.wav; 1 gone: b/001.flac)\n")
    planned = command(*line, "--update", "--dry-run").stderr
    assert "1 new, 0 changed, 1 gone, 3 taken over" in planned


@pytest.mark.parametrize("how", ["changed", "no record", "scores", "missing"])
def test_a_list_that_no_record_tells_of_is_not_updated(model, folder, tmp_path, how):
    events, scores = tmp_path / "e.tsv", tmp_path / "s.h5"
    line = ("infer", model, folder, "-o", events, "--scores", scores, "--device", "cpu")
    command(*line)
    if how == "changed":
        events.write_text(events.read_text() + "mine\t0\t1\ttone\n")
    elif how == "missing":
        scores.unlink()
    elif how == "scores":
        command(*line[:3], "--scores", scores, "--overwrite", "--window", 5, "--device", "cpu")
    else:
        made_path(events).unlink()
    name = "s.h5" if how in ("scores", "missing") else "e.tsv"
    said = refused(*line, "--update")
    assert "e.tsv exists; give --overwrite" in said
    assert f"(no record says what {name} is of, as it is)" in said
    assert "exists; give --overwrite to replace it, or another name\n" in refused(*line)


def test_an_update_needs_one_list_in_a_file(model, folder, tmp_path):
    assert "give -o EVENTS.tsv" in refused("infer", model, folder, "--update")
    assert "give -o EVENTS.tsv" in refused("infer", model, folder, "-o", tmp_path, "--update")
    line = ("infer", model, folder, "-o", tmp_path / "e.tsv", "--update", "--overwrite")
    assert "--update keeps what --overwrite makes anew" in refused(*line)


def test_events_on_stdout_are_all_there_though_scores_are_updated(model, folder, tmp_path):
    line = ("infer", model, folder, "--scores", tmp_path / "s.h5", "--device", "cpu")
    first = command(*line, "--threshold", 0.1).stdout
    assert "exists; give --overwrite" in refused(*line, "--threshold", 0.1)
    assert command(*line, "--threshold", 0.1, "--update").stdout == first


def test_scores_of_an_interrupted_update_are_kept_though_the_folder_grew(model, folder, tmp_path):
    def interrupt(done, total, name):
        if name.startswith("b/"):
            raise KeyboardInterrupt

    out = tmp_path / "out"
    for day in range(2):
        with pytest.raises(KeyboardInterrupt):
            infer(model, [folder], CPU, outputs_in(out, "all", update=True), progress=interrupt)
        record(folder / f"new-{day}.wav", seed=day)
        result = inferred(model, [folder], out, "all")
        assert (result.n_resumed, result.n_kept) == [(3, 0), (1, 4)][day]
        record(folder / "b" / "001.flac", seed=day)


@pytest.mark.parametrize("number", range(1, 7))
def test_a_first_update_that_was_stopped_while_it_renamed_goes_on(
    model, folder, tmp_path, monkeypatch, number
):
    out, whole, renamed = tmp_path / "out", Path.replace, []

    def stopping(path, target):
        renamed.append(target)
        if len(renamed) == number:
            raise KeyboardInterrupt
        return whole(path, target)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Path, "replace", stopping)
        infer(model, [folder], CPU, outputs_in(out, "all", update=True))
    assert len(renamed) == min(number, 5)  # the mark, three files, and their record
    record(folder / "new.wav")
    inferred(model, [folder], out, "all")


def test_the_same_line_again_leaves_a_folder_of_lists_alone(folder, model, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (folder / "broken.wav").write_bytes(b"")
    line = ("infer", model, folder, "-o", lists, "--format", "audacity", "--threshold", "0.3")
    line = (*line, "--weak", tmp_path / "tags.tsv", "--tolerate", "1")
    command(*line)
    before = {path: path.stat().st_mtime_ns for path in lists.rglob("*")}
    assert sum(path.suffix == ".txt" for path in before) == 4
    assert command(*line).stderr.startswith("nothing to do: ")
    assert {path: path.stat().st_mtime_ns for path in lists.rglob("*")} == before
    assert "exists; give --overwrite" in refused(*line, "--confidence")
    edited = min(path for path in before if path.suffix == ".txt")
    edited.write_text(edited.read_text() + "0\t1\tdog\n")
    assert "exists; give --overwrite" in refused(*line)
    command(*line, "--overwrite")
    assert command(*line).stderr.startswith("nothing to do: ")
    edited.unlink()
    assert "exists; give --overwrite" in refused(*line)
