from __future__ import annotations

import inspect
import re

import pytest

import safeatomic_core
from safeatomic_core import (
    ChecksumMismatchError,
    CrossDeviceAtomicityError,
    LockError,
    UnsupportedEnvironmentError,
)
from safeatomic_core._cli import wording
from safeatomic_core._cli.arguments import build_parser
from safeatomic_core._cli.completion import subcommands
from safeatomic_core._filesystems import hazards

PYTHON = re.compile(r"\w+=|\w+\(\)")
OPTIONS = {
    name: set(parser._option_string_actions)
    for name, (parser, _) in subcommands(build_parser()).items()
}


@pytest.mark.parametrize(
    "reason",
    [
        (
            "held by process 1 on host 'h'; wait for it (retries= and delay=), or if it must go, "
            "force_release_lock() makes its write fail"
        ),
        (
            "left behind by process 1, which is dead; remove it with release_stale_lock() or "
            "'safeatomic unlock --stale'"
        ),
        (
            "held by 1, unknown; if you know it is dead, release_stale_lock(max_age_s=…) or "
            "force_release_lock()"
        ),
        (
            "this filesystem has no flock (no); pass concurrency='none' if you exclude writers "
            "yourself"
        ),
        (
            "the lock was removed by force; the target is unchanged. Find out who called "
            "force_release_lock(), then write again"
        ),
        "held; use_something_new(then=2) and see LockError. Wait",
    ],
)
@pytest.mark.parametrize("command", OPTIONS)
def test_a_lock_s_error_names_nothing_of_python_s_and_no_option_that_is_not_there(
    reason: str, command: str
) -> None:
    text = wording.explained(LockError("a=b", reason), OPTIONS[command])
    assert text.startswith("cannot lock a=b: " + reason[:4])
    assert not PYTHON.search(text.removeprefix("cannot lock a=b: "))
    own = re.sub(r"'safeatomic [^']*'", "", text)
    assert set(re.findall(r"--[a-z-]+", own)) <= OPTIONS[command]


def test_advice_is_translated_where_the_option_exists() -> None:
    held = "held by 1; wait for it (retries= and delay=), or force_release_lock() makes it fail"
    text = wording.own_words(held, OPTIONS["write"])
    assert text == "held by 1; wait for it (--wait), or 'safeatomic unlock --force' makes it fail"
    assert wording.own_words("x; use_this(a=1)", ()) == "x"
    assert wording.own_words("clear with release_stale_lock() or 'safeatomic unlock --stale'", ())
    both = wording.own_words("release_stale_lock() or 'safeatomic unlock --stale'", ())
    assert both == "'safeatomic unlock --stale'"


def test_a_name_that_looks_like_an_argument_keeps_its_sentence() -> None:
    text = wording.own_words("it failed; the file 'a=b(1)' is in the way", ())
    assert text == "it failed; the file 'a=b(1)' is in the way"


@pytest.mark.parametrize(
    "name", ["force=True", "a; b=c", "x. use(y)", "it's; retries=3", 'say "no"; a=1', "[Errno 5] x"]
)
def test_a_name_that_is_quoted_is_left_as_it_is(name: str) -> None:
    text = f"the directory {name!r} does not exist; create it first"
    assert wording.own_words(text, ()) == text
    text = f"{name!r}: no flush ([Errno 5] no); pass force=True. Or {name!r}"
    assert wording.own_words(text, ("--force",)) == (
        f"{name!r}: no flush (no); use --force. Or {name!r}"
    )


@pytest.mark.parametrize(
    ("filesystem", "option"),
    [("ext4", "barrier=0"), ("f2fs", "fsync_mode=nobarrier"), ("overlay", "fsync=volatile")],
)
def test_the_mount_option_that_is_the_reason_is_told(filesystem: str, option: str) -> None:
    (reason,) = hazards(filesystem, (option,))
    error = UnsupportedEnvironmentError("f", filesystem, "CrashDurability", "Unsupported", reason)
    assert f"is Unsupported: {reason}. " in wording.explained(error, {"--safety"})


def test_every_argument_of_the_library_is_known_as_one() -> None:
    for name in safeatomic_core.__all__:
        found = getattr(safeatomic_core, name)
        if isinstance(found, type):
            continue
        for parameter in inspect.signature(found).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                assert wording.own_words(f"no; pass {parameter.name}='x'", ()) == "no"


def test_each_error_has_its_own_words() -> None:
    mismatch = wording.explained(ChecksumMismatchError("f", "00", "11"), ())
    assert "'safeatomic checksum'" in mismatch
    across = wording.explained(CrossDeviceAtomicityError("a b", "c"), ())
    assert "(safeatomic write c --from 'a b')" in across
    error = UnsupportedEnvironmentError("f", "nfs4", "CrashDurability", "NonTarget", "no")
    assert "--safety warn" in wording.explained(error, {"--safety"})
    assert "--safety" not in wording.explained(error, ())
    assert wording.explained(MemoryError(), ()) == "out of memory"
    assert wording.explained(OSError(2, "no", b"f\xff"), ()) == "f\udcff: no"
    assert wording.explained(OSError(2, "no", ""), ()) == "'': no"
    assert wording.explained(OSError(2, "no"), ()) == "no"
    assert wording.explained(ValueError("path is empty"), ()) == "path is empty"


def test_contention_is_what_acquire_was_refused_by_somebody() -> None:
    error = LockError("f", "held")
    assert not wording.is_contention(error)
    error.add_note("something else")
    assert wording.outcome(error) is None
    error.add_note("safeatomic: Acquire failed; the target is unchanged")
    assert wording.is_contention(error)
    assert wording.outcome(error) == "the target is unchanged"
    error.__cause__ = OSError(28, "full")
    assert not wording.is_contention(error)
