from __future__ import annotations

import ast
import errno
import pickle
from collections import Counter
from pathlib import Path

import pytest

import safeatomic_core
from safeatomic_core import (
    ChecksumMismatchError,
    CrossDeviceAtomicityError,
    LockError,
    SafeAtomicError,
    UnsupportedEnvironmentError,
    UnsupportedEnvironmentWarning,
    _errors,
)
from safeatomic_core._errors import UNCHANGED, age_text, explain, system_error

ERRORS = [
    SafeAtomicError("plain"),
    UnsupportedEnvironmentError("/a", "nfs4", "CrashDurability", "NonTarget", "because"),
    ChecksumMismatchError("/a", "00", "ff"),
    CrossDeviceAtomicityError("/a", "/b"),
    LockError("/a", "held"),
    LockError("/a", "held", 42, "host", 7.5),
    LockError("a text"),
    LockError("/a", reason="held", pid=42, hostname="host", age_s=7.5),
    # by keywords alone
    LockError(path="/a", reason="held"),
    LockError(path="a text"),
    ChecksumMismatchError(path="/a", expected="00", actual="ff"),
    CrossDeviceAtomicityError(src="/a", dst="/b"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_pickle_with_their_attributes(error: SafeAtomicError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)
    assert isinstance(again, SafeAtomicError)


def test_messages_name_what_the_user_needs() -> None:
    texts = [str(error) for error in ERRORS]
    assert "'/a' is on nfs4, where CrashDurability is NonTarget: because" in texts[1]
    assert "recorded 00, found ff" in texts[2]
    assert "'/a' to '/b'" in texts[3]
    assert texts[4] == texts[5] == "cannot lock '/a': held"
    assert texts[6] == "a text"


def test_a_lock_error_says_who_holds_the_lock() -> None:
    error = LockError("/a", "held", pid=42, hostname="host", age_s=7.5)
    assert (error.path, error.pid, error.hostname, error.age_s) == ("/a", 42, "host", 7.5)
    plain = LockError("a text")
    assert (plain.path, plain.reason, plain.pid, plain.age_s) == ("", "a text", None, None)


@pytest.mark.parametrize("name", safeatomic_core.__all__)
def test_a_traceback_shows_a_class_as_it_is_imported(name: str) -> None:
    found = getattr(safeatomic_core, name)
    if isinstance(found, type):
        # A vendored copy has a name of its own, with underscores.
        package = safeatomic_core.doctor.__module__.removesuffix("._doctor")
        assert f"{found.__module__}.{found.__qualname__}" == f"{package}.{name}"
        assert pickle.loads(pickle.dumps(found)) is found
    else:
        assert callable(found)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (7.46, "7.5 s"),
        (10, "10 s"),
        (59, "59 s"),
        (119, "119 s"),
        (150, "2 minutes"),
        (120, "2 minutes"),
        (7199, "119 minutes"),
        (7200, "2 hours"),
        (172799, "47 hours"),
        (172800, "2 days"),
        (28476257.7, "329 days"),
    ],
)
def test_ages_read_as_people_say_them(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_the_warning_is_a_user_warning() -> None:
    assert issubclass(UnsupportedEnvironmentWarning, UserWarning)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EBUSY, errno.EACCES, errno.ERANGE])
def test_an_explained_error_keeps_its_class_and_errno(code: int) -> None:
    original = OSError(code, "reason")
    explained = explain(original, "do it", "/a", UNCHANGED)
    assert type(explained) is type(original)
    assert explained.errno == code
    assert explained.filename == "/a"
    assert "cannot do it: reason" in str(explained)
    assert UNCHANGED in str(explained)


def test_an_error_without_errno_becomes_an_io_error() -> None:
    explained = explain(OSError("odd"), "do it", "/a", UNCHANGED)
    assert explained.errno == errno.EIO


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        (OSError(errno.EIO, "no"), True),
        (FileNotFoundError(errno.ENOENT, "no"), True),
        (TimeoutError(errno.ETIMEDOUT, "a file server's"), True),
        (TimeoutError("a signal handler's"), False),
        (TimeoutError(), False),
        (KeyboardInterrupt(), False),
        (RuntimeError("other"), False),
    ],
)
def test_an_error_of_a_system_call_is_told_from_a_time_out(
    raised: BaseException, caught: bool
) -> None:
    seen: list[BaseException] = []
    try:
        try:
            raise raised
        except system_error() as error:
            assert error is raised
            seen.append(error)
    except BaseException as error:
        assert error is raised
    assert seen == [raised] * caught


def test_no_clause_takes_a_time_out_for_an_error_of_the_system() -> None:
    folder = Path(_errors.__file__).parent
    found = Counter[str]()
    for file in [*folder.glob("*.py"), *(folder / "_doctor").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                found[file.name] += any(
                    isinstance(n, ast.Name) and n.id == "OSError" for n in names
                )
    assert not +found
