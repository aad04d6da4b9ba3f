"""Which words of a prompt mean something, and which are the token's: the paper's six prompts, the demo's, others."""

from __future__ import annotations

import pytest

from stages.common.prompt_words import content_words, split_prompt

ONE, TWO = "<hugo>", "<hugo> <hugo>_1"


@pytest.mark.parametrize("token", [ONE, TWO, "red_hugo_logo"])
@pytest.mark.parametrize(
    ("prompt", "plain", "phrase", "meant"),
    [
        ("A @", "", "A @", "@"),
        (
            "A male model wearing a blue @ sweater",
            "A male model wearing a blue sweater",
            "a @",
            "male model blue @ sweater",
        ),
        (
            "A female model wearing a green @ t-shirt",
            "A female model wearing a green t-shirt",
            "a @",
            "female model green @ t-shirt",
        ),
        ("The latest @ products", "The latest products", "The @", "latest @ products"),
        ("A billboard with the @", "A billboard", "the @", "billboard @"),
        ("The new @ fragrance perfume", "The new fragrance perfume", "The @", "new @ fragrance perfume"),
        ("a @ logo", "a logo", "a @", "@ logo"),
        ("a blue sweater with a @ logo", "a blue sweater", "a @ logo", "blue sweater @ logo"),
        (
            "a man wearing a blue sweater with a @ logo",
            "a man wearing a blue sweater",
            "a @ logo",
            "man blue sweater @ logo",
        ),
        ("a bottle of perfume with a @ logo", "a bottle of perfume", "a @ logo", "bottle perfume @ logo"),
        ("a red bag with a @ logo and a hat", "a red bag and a hat", "a @ logo", "red bag @ logo hat"),
        ("a mug bearing the @, on a table", "a mug, on a table", "the @", "mug @ table"),
        ("@", "", "@", "@"),
        ("a @ logo on a @ mug", "a logo on a mug", "a @", "@ logo @ mug"),
        ("a blue mug", "a blue mug", None, "blue mug"),
        ("the", "the", None, ""),
    ],
)
def test_a_prompt_falls_into_its_parts(prompt: str, plain: str, phrase: str | None, meant: str, token: str) -> None:
    filled = prompt.replace("@", token)
    assert split_prompt(filled, token) == (plain, phrase and phrase.replace("@", token))
    assert " ".join(word.text for word in content_words(filled, token)) == meant.replace("@", token)


def test_a_words_place_is_where_it_stands() -> None:
    prompt = f"A woman's hat,  with a {TWO} logo"
    found = content_words(prompt, TWO)
    assert [prompt[word.start : word.end] for word in found] == ["woman's", "hat", TWO, "logo"]


def test_a_token_within_a_word_is_none() -> None:
    assert [word.is_token for word in content_words("a hugo shirt with a hu logo", "hu")] == [False, False, True, False]
    assert split_prompt("a hugo shirt with a hu logo", "hu") == ("a hugo shirt", "a hu logo")
    assert split_prompt("a hugo shirt", "hu") == ("a hugo shirt", None)
