"""Notes what a stage reads: put this folder on PYTHONPATH and name a folder in EMBLEM_RECORD.

Python imports this module before any other. In a process that was started as `python -m stages.<stage>` it notes, until
the process ends, every parameter that is looked at (by name, or with all others when a section is dumped), and, by
the kernel (inotify), every file below `WATCHED` that this process, its libraries or its children open.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import struct
import sys
import threading
from pathlib import Path

WATCHED = ("data", "demo", "metrics", "models")
IN_OPEN, IN_Q_OVERFLOW, IN_ISDIR = 0x20, 0x4000, 0x40000000
EVENT = struct.Struct("iIII")
SETTLE_SECONDS = 0.2
"""What the kernel may take to tell of the last file."""


class Files:
    """Files opened below some folders, read from inotify by a thread."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.complete = True
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(0)
        self.folders: dict[int, str] = {}
        for top in WATCHED:
            for folder, _, _ in os.walk(top):
                self.folders[libc.inotify_add_watch(self.descriptor, folder.encode(), IN_OPEN)] = folder
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while content := os.read(self.descriptor, 1 << 16):
            place = 0
            while place < len(content):
                watch, mask, _, length = EVENT.unpack_from(content, place)
                name = content[place + EVENT.size : place + EVENT.size + length].rstrip(b"\0").decode()
                place += EVENT.size + length
                self.complete &= not mask & IN_Q_OVERFLOW
                if name and not mask & IN_ISDIR:
                    self.opened.add(f"{self.folders[watch]}/{name}")


class Parameters:
    """Parameters looked at once they are loaded: by name, and those that were dumped with their section."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.dumped: set[str] = set()
        sys.path.insert(0, os.getcwd())
        from stages.common import params as schema

        self.schema = schema
        self.place = {schema.Params: ""}
        self._find(schema.Params, "")
        load, noting = schema.load_params, self

        def load_params(*arguments: object) -> object:
            loaded = load(*arguments)
            schema.Section.__getattribute__ = lambda model, name: noting.look(model, name)
            return loaded

        schema.load_params = load_params

    def _find(self, section: type, prefix: str) -> None:
        for name, field in section.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, self.schema.Section):
                self.place[field.annotation] = f"{prefix}{name}."
                self._find(field.annotation, f"{prefix}{name}.")

    def look(self, model: object, name: str) -> object:
        value = object.__getattribute__(model, name)
        kind = type(model)
        if kind not in self.place:
            return value
        if name == "model_dump":
            self.dumped |= set(leaves(kind, self.place[kind], self.schema.Section))
        elif name in kind.model_fields and not isinstance(value, self.schema.Section):
            self.read.add(f"{self.place[kind]}{name}")
        return value


def leaves(kind: type, prefix: str, section: type) -> list[str]:
    """The dotted names of all parameters of a section."""
    found = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, section):
            found += leaves(inner, f"{prefix}{name}.", section)
        else:
            found.append(f"{prefix}{name}")
    return found


def record(folder: Path) -> None:
    """Begin to note; what was noted is written into `folder` when the process ends."""
    parameters, files = Parameters(), Files()

    def write() -> None:
        threading.Event().wait(SETTLE_SECONDS)
        noted = {
            "command": " ".join(["python", *sys.orig_argv[1:]]),
            "parameters": sorted(parameters.read),
            "dumped": sorted(parameters.dumped),
            "files": sorted(files.opened),
            "complete": files.complete,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{os.getpid()}.json").write_text(json.dumps(noted, indent=1))

    atexit.register(write)


if os.environ.get("EMBLEM_RECORD") and "-m" in sys.orig_argv[:3]:
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    if module.startswith("stages."):
        record(Path(os.environ["EMBLEM_RECORD"]))
