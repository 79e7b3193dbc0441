"""What a call does when an option is left out: the defaults of the public functions."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import safeatomic_core
from safeatomic_core._options import Policy

CONFIGURED = None  # comes from `safeatomic_config`, then from the library
LOCKING: dict[str, object] = {
    "concurrency": "lock",
    "retries": CONFIGURED,
    "delay": CONFIGURED,
    "session": None,
}
WRITING: dict[str, object] = {
    **LOCKING,
    "preserve_metadata": True,
    "write_checksum": False,
    "checksum_algo": CONFIGURED,
    "safety": "strict",
    "mode": None,
    "overwrite": True,
}
READING: dict[str, object] = {
    "check_checksum": False,
    "checksum_algo": CONFIGURED,
    "safety": "strict",
}
DEFAULTS: dict[str, dict[str, object]] = {
    "AtomicWriter": WRITING,
    "AtomicReader": READING,
    "write_atomic": {"encoding": CONFIGURED, **WRITING},
    "write_atomic_bytes": WRITING,
    "read_atomic": {"encoding": CONFIGURED, **READING},
    "read_atomic_bytes": READING,
    "move_atomic": {"force": False, "preserve_metadata": True, "safety": "strict", **LOCKING},
    "try_acquire_lock": {
        "session": None,
        "retries": CONFIGURED,
        "delay": CONFIGURED,
        "safety": "strict",
    },
    "release_lock": {},
    "force_release_lock": {},
    "is_locked": {},
    "inspect_lock": {},
    "get_lock_age": {},
    "is_stale_lock": {"max_age_s": None},
    "release_stale_lock": {"max_age_s": None},
    "compute_hash_file": {"algo": CONFIGURED},
    "compute_hash_data": {"algo": CONFIGURED},
    "verify_checksum": {"expected": None, "algo": CONFIGURED},
    "write_checksum_file": {"algo": CONFIGURED, "safety": "strict", **LOCKING},
    "get_checksum_info": {},
    "inspect_guarantees": {},
    "doctor": {"destructive": False, "require": None},
    "safeatomic_config": dict.fromkeys(("encoding", "checksum_algo", "retries", "delay")),
}


def optional(function: Callable[..., Any]) -> dict[str, object]:
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_is_left_out_keeps_every_guarantee(name: str) -> None:
    assert optional(getattr(safeatomic_core, name)) == DEFAULTS[name]


def test_a_bundle_of_options_has_the_defaults_of_a_write() -> None:
    assert optional(Policy.of) == WRITING


def test_every_public_function_is_listed() -> None:
    named = {name: getattr(safeatomic_core, name) for name in safeatomic_core.__all__}
    functions = {name for name, found in named.items() if inspect.isfunction(found)}
    assert functions <= DEFAULTS.keys()


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in safeatomic_core.__all__
        if inspect.isfunction(getattr(safeatomic_core, name)) and name != "write_checksum_file"
    ],
)
def test_the_annotations_of_a_function_can_be_resolved(name: str) -> None:
    function = getattr(safeatomic_core, name)
    hints = typing.get_type_hints(function)
    assert set(hints) == {*inspect.signature(function).parameters, "return"}
    if "path" in hints:
        assert str in typing.get_args(hints["path"])
    assert hints.get("safety", str) is str


def test_a_path_that_is_returned_is_imported_late() -> None:
    function = safeatomic_core.write_checksum_file
    with pytest.raises(NameError, match="Path"):
        typing.get_type_hints(function)
    assert typing.get_type_hints(function, localns={"Path": Path})["return"] is Path
