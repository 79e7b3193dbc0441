"""Alternatives to this library for writing a file, in the same harness.

Each takes the path and the bytes. Noise comes after their system calls in the `os` module. There is
none between the truncation and the write of a plain ``open``, which happens inside the interpreter.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from . import payload
from .operations import Write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .operations import AnyOperation
    from .recording import Performer

_CALLS = ("rename", "replace", "fsync", "link", "unlink", "remove")


def write_text(path: str, data: bytes) -> None:
    """Write with `Path.write_text`: truncate, write, close."""
    Path(path).write_text(data.decode("ascii"), encoding="ascii")


def recipe(path: str, data: bytes) -> None:
    """Write by the common recipe: temp, fsync, `os.replace`."""
    temporary = f"{path}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def recipe_without_fsync(path: str, data: bytes) -> None:
    """Write by the shorter form of the recipe: temp, `os.replace`."""
    temporary = f"{path}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def recipe_with_directory(path: str, data: bytes) -> None:
    """Write by the recipe, then flush the directory."""
    recipe(path, data)
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def atomicwrites(path: str, data: bytes) -> None:
    """Write with atomicwrites."""
    with _module("atomicwrites").atomic_write(path, mode="wb", overwrite=True) as file:
        file.write(data)


def boltons(path: str, data: bytes) -> None:
    """Write with boltons."""
    with _module("boltons.fileutils").atomic_save(path) as file:
        file.write(data)


def safer(path: str, data: bytes) -> None:
    """Write with safer."""
    with _module("safer").open(path, "wb") as file:
        file.write(data)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _performer(write: Callable[[str, bytes], None]) -> Performer:
    def perform(operation: AnyOperation, root: str, disturb: Callable[[], None]) -> None:
        if not isinstance(operation, Write):
            raise TypeError(f"a peer cannot do {operation}")
        with _disturbed(disturb):
            write(f"{root}/{operation.name}", payload.content(operation.number, operation.size))
        disturb()

    return perform


@contextlib.contextmanager
def _disturbed(disturb: Callable[[], None]) -> Iterator[None]:
    """Disturb after each of the calls that order things; the noise itself is not disturbed."""
    busy = False

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **kwargs: Any) -> Any:
            nonlocal busy
            result = call(*args, **kwargs)
            if not busy:
                busy = True
                try:
                    disturb()
                finally:
                    busy = False
            return result

        return changed

    with contextlib.ExitStack() as stack:
        for name in _CALLS:
            stack.enter_context(mock.patch.object(os, name, wrap(getattr(os, name))))
        yield


WRITERS: dict[str, Callable[[str, bytes], None]] = {
    "Path.write_text": write_text,
    "temp, replace": recipe_without_fsync,
    "temp, fsync, replace": recipe,
    "temp, fsync, replace, fsync of the directory": recipe_with_directory,
    "atomicwrites": atomicwrites,
    "boltons.fileutils.atomic_save": boltons,
    "safer.open": safer,
}
ALL: dict[str, Performer] = {name: _performer(write) for name, write in WRITERS.items()}
