from __future__ import annotations

import errno
import pickle

import pytest

from safeatomic_core import (
    ChecksumMismatchError,
    CrossDeviceAtomicityError,
    LockError,
    SafeAtomicError,
    UnsupportedEnvironmentError,
    UnsupportedEnvironmentWarning,
)
from safeatomic_core._errors import UNCHANGED, explain

ERRORS = [
    SafeAtomicError("plain"),
    UnsupportedEnvironmentError("/a", "nfs4", "CrashDurability", "NonTarget", "because"),
    ChecksumMismatchError("/a", "00", "ff"),
    CrossDeviceAtomicityError("/a", "/b"),
    LockError("/a", "held"),
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
    assert texts[4] == "cannot lock '/a': held"


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


def test_the_busy_error_names_the_bind_mount() -> None:
    explained = explain(OSError(errno.EBUSY, "busy"), "replace", "/a", UNCHANGED)
    assert "bind-mounted" in str(explained)
