"""What a prompt is about: its words that mean something, and its two parts, the brand's token and all else.

Told by English closed classes (determiners, prepositions, conjunctions, pronouns, auxiliaries: sets that no language
adds to) and by word order, by no list of things, colours or brands.

`token` is the brand's token as it stands in the prompt: of a token of several vectors, all of their names
(`spell_out(token, token, vectors)` in stages/common/weights.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stages.common.tokens import whole


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _listed(
    "a an the this that these those my your his her its our their some any each every no another both"
)
PREPOSITIONS = _listed(
    "about above across after against along among around as at before behind below beneath beside between beyond by "
    "down during for from in inside into like near of off on onto out outside over past per through to toward towards "
    "under up upon via with within without"
)
OTHERS = _listed(
    "and or but nor while that who which whose it he she they i we you is are was were be been being am has have had "
    "do does did not very"
)
"""Conjunctions, pronouns, auxiliaries and two particles."""
FUNCTION_WORDS = DETERMINERS | PREPOSITIONS | OTHERS
POSSESSION = "with"
"""The preposition that gives a thing an attribute: "a sweater with a <token> logo"."""


@dataclass(frozen=True)
class Word:
    """A word, a punctuation mark, or the brand's token, and where it stands: prompt[start:end]."""

    text: str
    start: int
    end: int
    is_token: bool


def words(prompt: str, token: str) -> list[Word]:
    """The prompt's words and punctuation marks in order; the token is one word, whatever it is made of."""
    pattern = rf"(?P<token>{whole(token).pattern})|\w+(?:['’-]\w+)*|[^\w\s]"
    return [
        Word(m[0].lower(), m.start(), m.end(), m["token"] is not None)
        for m in re.finditer(pattern, prompt, re.IGNORECASE)
    ]


def content_words(prompt: str, token: str) -> list[Word]:
    """The words that mean something: the thing, its colour, who wears it, the brand's token.

    That is every word but function words, and but those right in front of a determiner: a noun phrase begins with its
    determiner, so what stands there is a verb or a preposition ("wearing a", "beside the").
    """
    listed = words(prompt, token)
    following = [*listed[1:], None]
    return [word for word, after in zip(listed, following, strict=True) if word.is_token or _has_content(word, after)]


def _has_content(word: Word, after: Word | None) -> bool:
    if word.is_token:
        return False
    leads = after is not None and after.text in DETERMINERS
    return word.text[0].isalnum() and word.text not in FUNCTION_WORDS and not leads


def split_prompt(prompt: str, token: str) -> tuple[str, str | None]:
    """The prompt without the token's phrase, and that phrase, as composed sampling guides by them.

    The token's noun phrase goes from behind the last word in front of it that is no part of a noun phrase (a
    preposition, a conjunction, a mark, a verb in front of a determiner) to the next one.

    - Where it says nothing but the token, or `with` gives it as an attribute and the token is its first word behind
      the determiner, it is the token's own, and is taken out with the word that leads it in:
      "a blue sweater with a <token> logo" -> "a blue sweater", "a <token> logo"; "A billboard with the <token>" ->
      "A billboard", "the <token>"; "A <token>" -> "", "A <token>".
    - Otherwise the token stands before a thing of the prompt's own, and it alone is taken out: "wearing a blue <token>
      sweater" -> "wearing a blue sweater", "a <token>"; "The latest <token> products" -> "The latest products",
      "The <token>".

    Without the token: the prompt as it is, and None.
    """
    listed = words(prompt, token)
    place = next((number for number, word in enumerate(listed) if word.is_token), None)
    if place is None:
        return prompt, None
    breaks = [_breaks(listed, number) for number in range(len(listed))]
    first = max((number + 1 for number in range(place) if breaks[number]), default=0)
    last = min((number for number in range(place + 1, len(listed)) if breaks[number]), default=len(listed))
    phrase = listed[first:last]
    front = listed[first:place]
    determiner = next((word for word in front if word.text in DETERMINERS), None)
    lead = listed[first - 1] if first else None
    alone = all(word.is_token or word.text in FUNCTION_WORDS for word in phrase)
    given = lead is not None and lead.text == POSSESSION and all(word.text in DETERMINERS for word in front)
    if alone or given:
        start, end = (lead or phrase[0]).start, phrase[-1].end
        own = prompt[phrase[0].start : end]
    else:
        start, end = listed[place].start, listed[place].end
        own = " ".join(([prompt[determiner.start : determiner.end]] if determiner else []) + [prompt[start:end]])
    rest = re.sub(r"\s+(?=[,.;:!?])", "", " ".join((prompt[:start] + prompt[end:]).split()))
    return split_prompt(rest, token)[0], own


def _breaks(listed: list[Word], number: int) -> bool:
    """Whether a noun phrase cannot go on over this word."""
    word, after = listed[number], listed[number + 1] if number + 1 < len(listed) else None
    if word.is_token or word.text in DETERMINERS:
        return False
    leads = after is not None and after.text in DETERMINERS
    return word.text in FUNCTION_WORDS or not word.text[0].isalnum() or leads
