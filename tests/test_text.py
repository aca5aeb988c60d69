"""Text as it is shown: columns, lists of names, suggestions, escapes, digests."""

import hashlib

import pytest

from sedtool import text


def test_columns_have_one_width_with_text_left_and_numbers_right():
    rows = [("class", "n", "f1"), ("Dog", "10", "0.5"), ("Speech", "7", "-")]
    assert text.aligned(rows, 1) == ["class    n   f1", "Dog     10  0.5", "Speech   7    -"]
    assert text.aligned(rows, 2)[1:] == ["Dog     10  0.5", "Speech  7     -"]
    assert text.aligned([], 1) == []


def test_tables_have_a_header_apart_in_markdown_and_latex():
    rows = [("class", "n"), ("Dog", "10")]
    assert text.markdown_table(rows, 1) == ["| class | n |", "| --- | ---: |", "| Dog | 10 |"]
    header, row = map(text.latex_row, rows)
    assert text.booktabs("lr", [header], [], [row]) == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"class & n \\",
        r"\midrule",
        r"Dog & 10 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, ""), (1, "0"), (5, "0, 1, 2, 3, 4"), (7, "0, 1, 2, 3, 4 and 2 more")],
)
def test_of_many_names_five_are_said(count, expected):
    assert text.first_five(map(str, range(count))) == expected


def test_one_is_no_plural():
    assert [text.counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_a_misspelt_name_is_answered_with_the_nearest_one():
    assert text.nearest("powr", {"power": 1, "max": 2}) == "power"
    assert text.suggestion("powr", ["max", "power"]) == "; did you mean 'power'?"
    assert text.suggestion("xyz", ["max", "power"]) == ""


def test_latex_prints_a_name_as_it_is():
    assert text.latex(r"a_b\c~{1%}") == r"a\_b\textbackslash{}c\textasciitilde{}\{1\%\}"


@pytest.mark.parametrize("character", ["\n", "\x1b", "\x85", "\u2028", "\udc80"])
def test_what_acts_on_a_terminal_or_ends_a_line_is_shown_and_not_written(character):
    assert not text.is_writable(f"a{character}")
    assert text.plain(f"a{character}b") == f"a{character!r}b".replace("'", "")


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert text.file_sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_a_line_loses_what_is_endless_in_it_and_says_how_long_that_was():
    path = "/".join(["folder"] * 40)
    assert text.bounded(f"cannot write {path}") == f"cannot write {path}"
    assert text.bounded(f"label {'x' * 5000!r} is unknown") == (
        f"label '{'x' * 59}… (5002 characters) is unknown"
    )
    words = text.bounded("first " + "word " * 10**6 + "last")
    assert len(words) <= 2000
    assert words.startswith("first word") and words.endswith("word last")
    assert "(5000010 characters)" in words


def test_what_a_message_repeats_is_cut_to_sixty_characters_with_its_length():
    assert text.quoted("x" * 60) == repr("x" * 60)
    assert text.quoted("x" * 61) == f"'{'x' * 60}…' (61 characters)"
    assert text.quoted("it's\n") == repr("it's\n")
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep, "x" * 10_000]
    assert len(text.quoted(deep)) <= 60
    assert text.first_quoted("abcdefg") == "'a', 'b', 'c', 'd', 'e' and 2 more"
    assert text.first_quoted(()) == "none"


def test_the_nearest_of_many_names_is_found_by_comparing_few(monkeypatch):
    compared = []
    found = text.get_close_matches
    monkeypatch.setattr(text, "get_close_matches", lambda *a: compared.append(a[1]) or found(*a))
    names = [f"label_{n:05}" for n in range(20_000)]
    assert text.nearest("label_00071x", [*names, "label_00071y"]) is not None
    assert text.nearest("x" * 10**6, names) is None
    assert [len(each) for each in compared] == [500]


def test_a_name_that_only_looks_the_same_is_said_to():
    near = text.suggestion("Cafe\u0301", ["Bar", "Caf\xe9"])
    assert near == "; did you mean 'Caf\xe9', in another Unicode form?"
    assert text.suggestion("Cafe", ["Bar", "Caf\xe9"]) == "; did you mean 'Caf\xe9'?"
