"""Which readings count as the word, and how far off the others are."""

import pytest

from stages.score.words import edit_distance, levenshtein, word_read


@pytest.mark.parametrize(
    "readings",
    [
        ["HUGO"],
        ["hugo"],
        ["Hugo"],
        ["hUgO"],
        ["HUG0"],
        ["hug0"],
        [" HUGO "],
        ["HUGO."],
        ["HUGO BOSS"],
        ["by hugo,"],
        ["SALE", "HUGO"],
        ["", "Hug0"],
        ["HUGO-BOSS"],
        ["HUGO\n"],
        "HUGO",
        ["H U G O"],
        ["h u g 0"],
        ["H  U  G  O"],
        ["H U G O."],
        ["H U G O  B O S S"],
        ["A  H U G O"],
        ["H\u2009U\u2009G\u2009O"],
    ],
)
def test_read(readings: list[str]) -> None:
    assert word_read(readings, "HUGO")


@pytest.mark.parametrize(
    "readings",
    [
        [],
        [""],
        ["HUCO"],
        ["HUGQ"],
        ["HUGE"],
        ["HUG"],
        ["UGO"],
        ["HUGOO"],
        ["HUUGO"],
        ["HUG O"],
        ["HU", "GO"],
        ["OGUH"],
        ["HU60"],
        ["HUGOS"],
        ["THUGO"],
        ["0"],
        ["HUGOBOSS"],
        ["MUGO"],
        ["GUHO"],
        ["HU G O"],
        ["H U GO"],
        ["H U  G O"],
        ["H  U G O"],
        ["H U G O S"],
        ["T H U G O"],
        ["O G U H"],
        ["H-U-G-O"],
        ["H. U. G. O."],
        ["H", "U", "G", "O"],
    ],
)
def test_not_read(readings: list[str]) -> None:
    assert not word_read(readings, "HUGO")


def test_zero_stands_for_o_and_not_the_other_way_round() -> None:
    assert word_read(["L00K"], "look")
    assert not word_read(["A1O"], "A10")
    assert word_read(["a10"], "A10")


def test_a_word_must_be_one() -> None:
    with pytest.raises(ValueError, match="letters"):
        word_read(["x"], "")


@pytest.mark.parametrize(
    ("readings", "distance"),
    [
        (["HUGO"], 0),
        (["hug0"], 0),
        (["HUCO"], 0.25),
        (["HUG"], 0.25),
        (["HUGOS"], 0.2),
        ([], 1),
        ([""], 1),
        (["SALE", "HUCO"], 0.25),
        (["XYZW"], 1),
        (["HUGO BOSS"], 0),
        (["H U G O"], 0),
        (["H U C O"], 0.25),
    ],
)
def test_edit_distance(readings: list[str], distance: float) -> None:
    assert edit_distance(readings, "HUGO") == pytest.approx(distance)


def test_levenshtein_known_answers() -> None:
    assert levenshtein("kitten", "sitting") == 3
    assert levenshtein("", "abc") == 3
    assert levenshtein("abc", "abc") == 0
