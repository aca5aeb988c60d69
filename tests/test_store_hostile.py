"""Features files of strangers are refused in one line, and nothing outside them is opened."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from sedtool.errors import ArtifactError
from sedtool.store import (
    open_features,
)
from support.stored import write_features


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features.h5"


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


def test_a_file_of_holes_is_refused_before_they_are_read(path):
    write_features(path)
    with path.open("ab") as stream:
        stream.truncate(2**35)
    with pytest.raises(ArtifactError, match="damaged: of its 34359738368 bytes only"):
        open_features(path)
