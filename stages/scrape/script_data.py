"""The data that a page hands to its own script, decoded: what Next.js, Nuxt and their like write into the page.

Nuxt 3 writes a flat list whose things name each other by their places; Nuxt 2 and the older states are a JavaScript
expression, of which data alone is read: nothing is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from stages.scrape.document import Document
from stages.scrape.structured_data import lenient_json

LONGEST_DATA = 5_000_000
"""Characters of a script's data that are read: the largest catalogues in one page have some two million. By hand."""
MOST_PLACES = 500_000
"""Places of Nuxt's list that are followed, each counted as often as another one names it."""
DEEPEST = 40
"""Levels of Nuxt's list that are followed; real ones nest less than 20."""
_STATE = re.compile(
    r"(?:window|self|globalThis)\s*(?:\.\s*|\[\s*[\"'])(__NUXT__|__INITIAL_STATE__|__PRELOADED_STATE__|__APOLLO_STATE__|"
    r"__INITIAL_DATA__|__NEXT_DATA__)(?:[\"']\s*\])?\s*=\s*"
)
_FUNCTION = re.compile(r"\(?\s*function\s*\(([\w$,\s]*)\)\s*\{")
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"?|(?P<single>\'(?:[^\'\\]|\\.)*\'?)|(?<![\w.$])(?P<key>[A-Za-z_$][\w$]*|\d+)(?=\s*:)|'
    r"(?P<undefined>void 0|undefined|NaN|Infinity)\b|(?P<flag>![01])|(?P<half>(?<![\w.])\.\d+)|"
    r"(?P<array>\b(?:Array|Map|Set|Date)\b)|"
    r"(?<![\w.$])(?P<name>(?!(?:true|false|null|new|return|function)\b)[A-Za-z_$][\w$]*)",
    re.S,
)
"""What JavaScript writes otherwise than JSON, and strings, in which nothing is touched; each part is read once."""
_SET = re.compile(r'\s*\{"\\u0000":"([\w$]+)"\}(?:\.([\w$]+)|\[(\d+|"[^"]*")\])=')
_DECODER = json.JSONDecoder(strict=False)


def script_data(document: Document) -> Iterator[Any]:
    """What the page's scripts are handed, each as a dictionary; nothing where it cannot be read."""
    for script in document.root.iter("script"):
        text, name = script.text or "", script.get("id") or ""
        if len(text) > LONGEST_DATA:
            continue
        found: Any = None
        if name == "__NEXT_DATA__":
            data = lenient_json(text)
            props = data.get("props") if isinstance(data, dict) else None
            found = props.get("pageProps", props) if isinstance(props, dict) else None
        elif name.startswith("__NUXT_DATA__"):
            found = _revived(lenient_json(text))
        else:
            assigned = _STATE.search(text)
            found = _expression(text[assigned.end() :]) if assigned else None
        if isinstance(found, dict):
            parts = found.get("data")  # Nuxt 2: a list of the page's parts
            yield (
                found | {"data": {str(at): part for at, part in enumerate(parts)}} if isinstance(parts, list) else found
            )


def _revived(places: Any) -> Any:
    """Nuxt 3's list as the thing that it stands for: numbers within things are places; ["Ref", 3] and its like are 3.

    A place that is met within itself is left out, as is what is nested deeper than DEEPEST or beyond MOST_PLACES.
    """
    if not isinstance(places, list) or not places:
        return None
    left = MOST_PLACES

    def at(place: Any, within: frozenset[int]) -> Any:
        nonlocal left
        left -= 1
        if type(place) is not int or not 0 <= place < len(places) or place in within or left < 0:
            return None
        value, inside = places[place], within | {place}
        if len(inside) > DEEPEST:
            return None
        if isinstance(value, dict):
            return {key: at(entry, inside) for key, entry in value.items()}
        if isinstance(value, list):
            if value and isinstance(value[0], str):  # a type's name before its content
                return at(value[1], inside) if len(value) == 2 else [at(entry, inside) for entry in value[1:]]
            return [at(entry, inside) for entry in value]
        return value

    return at(0, frozenset())


def _expression(text: str) -> Any:
    """The data of a JavaScript expression: an object, or a function that is called with what its names stand for."""
    called = _FUNCTION.match(text)
    try:
        if called is None:
            return _DECODER.raw_decode(_as_json(text).lstrip())[0]
        return _call(_as_json(text[called.end() :]), [name.strip() for name in called.group(1).split(",")])
    except (ValueError, RecursionError):
        return None


def _call(body: str, names: list[str]) -> Any:
    """What a function gives whose body sets entries of its arguments and returns an object."""
    sets: list[tuple[str, str, Any]] = []
    at = 0
    while found := _SET.match(body, at):
        value, at = _DECODER.raw_decode(body, found.end())
        sets.append((found.group(1), found.group(2) or found.group(3).strip('"'), value))
        at = at + 1 if body[at : at + 1] in (";", ",") else at
    start = body.index("return", at) + len("return")
    given, at = _DECODER.raw_decode(body, start + len(body[start:]) - len(body[start:].lstrip()))
    arguments = _arguments(body[at:])
    values = dict(zip(names, arguments, strict=False))
    for name, key, value in sets:
        if isinstance(values.get(name), dict):
            values[name][key] = value
    left = MOST_PLACES

    def filled(value: Any, within: tuple[str, ...], depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEEPEST:
            return None
        if isinstance(value, list):
            return [filled(entry, within, depth + 1) for entry in value]
        if isinstance(value, dict):
            name = value.get("\0")
            if isinstance(name, str):
                return None if name in within else filled(values.get(name), (*within, name), depth + 1)
            return {key: filled(entry, within, depth + 1) for key, entry in value.items()}
        return value

    return filled(given, (), 0)


def _arguments(text: str) -> list[Any]:
    """The values of a call that begins behind its function's body: "}(1, {})" or "})(1, {})"."""
    start, end = text.index("("), text.rindex(")")
    inner = text[start + 1 : end].rstrip().removesuffix(";").rstrip()
    for attempt in (inner, inner.removesuffix(")")):
        try:
            found = json.loads(f"[{attempt}]", strict=False)
            return found if isinstance(found, list) else []
        except ValueError:
            continue
    return []


def _as_json(text: str) -> str:
    """JavaScript's data as JSON; a name stands as {"\\0": name}."""

    def written(found: re.Match[str]) -> str:
        kind, word = found.lastgroup, found.group()
        if kind == "single":
            return json.dumps(word[1:-1].replace("\\'", "'"))
        if kind == "key":
            return f'"{word}"'
        if kind in ("undefined", "array"):
            return "null"
        if kind == "flag":
            return "true" if word == "!0" else "false"
        if kind == "half":
            return f"0{word}"
        return json.dumps({"\0": word}, separators=(",", ":")) if kind == "name" else word

    return _TOKEN.sub(written, text)
