"""Profiles: overlays on params.yaml that hold only what differs from it, with the reason beside each value.

A profile may stand on another one of its folder (`profile: sd15`), which is written first; it then holds only what
differs from both.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.params import Params, check_params, load_params

STANDS_ON = "profile"
"""The key under which a profile names the one that it stands on; no parameter is called so."""
UNLIMITED = 10_000
"""Characters a line may have when it is written again: lines are broken by people alone."""


def apply_profiles(file: Path, profiles: Sequence[Path]) -> list[str]:
    """Write what the profiles set into a params file, later ones over earlier ones; a line for each value changed.

    Nothing is written where the outcome is not valid.

    Raises:
        UserError: a file is missing, is no YAML mapping, stands on itself, sets a key that the schema does not know, or
            a value that it does not allow.
    """
    before = load_params(file).model_dump()
    text = compose(file, profiles)
    named = f"{file} with {', '.join(profile.as_posix() for profile in profiles)}"
    after = check_params(YAML(typ="safe", pure=True).load(text), named).model_dump()
    write_file(file, text)
    return [f"{key}: {old!r} -> {new!r}" for key, old, new in changes(before, after)]


def compose(file: Path, profiles: Sequence[Path]) -> str:
    """The text of a params file with the profiles' values in their places; its comments stay where they are."""
    content = _read(file)
    for profile in profiles:
        for layer in _layers(profile):
            _overlay(content, layer)
    return _text(content)


def changes(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key with its sections, old, new) of every value that differs."""
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from changes(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = UNLIMITED
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _read(path: Path) -> CommentedMap:
    try:
        content = _yaml().load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (MarkedYAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, CommentedMap):
        raise UserError(f"{path}: must be a mapping of parameters")
    return content


def _layers(profile: Path, above: tuple[Path, ...] = ()) -> list[CommentedMap]:
    """What a profile sets, after all that it stands on: the lowest first."""
    content = _read(profile)
    name = content.pop(STANDS_ON, None)
    if name is None:
        return [content]
    below = profile.with_name(f"{name}.yaml")
    if below in (profile, *above):
        raise UserError(f"{profile}: {STANDS_ON} = {name!r}: a profile must not stand on itself")
    return [*_layers(below, (profile, *above)), content]


def _text(content: CommentedMap) -> str:
    text = io.StringIO()
    _yaml().dump(content, text)
    return text.getvalue()


def _overlay(target: CommentedMap, source: CommentedMap, section: type[BaseModel] | None = Params) -> None:
    """Put the source's values into the target, a section key by key, anything else whole; a reason comes with it.

    What is no section of the schema is one value, though it be a mapping: a grid's lists, the hashes.
    """
    for key, value in source.items():
        inner = _section(section, str(key))
        before, said = _comment(target, key), _comment(source, key)
        reason = said.value.split("\n")[0].strip() if said is not None else ""
        if isinstance(value, (list, dict)) and reason:
            if before is None:
                target.yaml_add_eol_comment(reason, key, column=said.column)
            else:
                before.value = reason + "\n" + before.value.partition("\n")[2]
        if isinstance(value, CommentedMap) and isinstance(target.get(key), CommentedMap) and inner:
            _overlay(target[key], value, inner)
            continue
        if isinstance(value, CommentedSeq):  # the blank lines after a profile's list are the profile's
            value.ca.items.pop(len(value) - 1, None)
        target[key] = value
        if reason and not isinstance(value, (list, dict)):
            target.ca.items.pop(key, None)
            target.yaml_add_eol_comment(reason, key, column=said.column)
            after = _comment(target, key)
            if before is not None:  # the blank lines and comments up to the next key belong to the file
                after.value = after.value.rstrip("\n") + "\n" + before.value.partition("\n")[2]


def _section(of: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """The section of the schema that a key of a section is, None where it is a value, or unknown."""
    field = of.model_fields.get(key) if of else None
    annotation = field.annotation if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _comment(content: CommentedMap, key: Any) -> Any:
    """ruamel's token for what follows a key's value: the comment on its line, and all lines up to the next key."""
    return content.ca.items.get(key, [None] * 3)[2]
