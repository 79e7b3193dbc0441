"""What is hashed, recognised and reported where nothing can be imported any more."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    SafeAtomicError,
    _guarantees,
    _hashes,
    _log,
    doctor,
    force_release_lock,
    get_checksum_info,
    inspect_lock,
    read_atomic,
    verify_checksum,
    write_atomic,
    write_checksum_file,
)
from safeatomic_core import _doctor as doctor_module
from safeatomic_core._digests import digest_length
from safeatomic_core._lock_payload import parse_json, parse_timestamp
from safeatomic_core._options import check_algorithm

LATER = ("hashlib", "json", "datetime", "pathlib", "logging")


@pytest.fixture
def chroot(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As after a chroot, of what is imported late."""
    for name in LATER:
        monkeypatch.setitem(sys.modules, name, None)
    return monkeypatch


class LateError(TimeoutError):
    """What a signal handler raises to end a call."""


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("hashlib", lambda _: _hashes.new_hash("sha256")),
        ("hashlib", lambda _: _hashes.digest_size("sha512")),
        ("json", lambda _: parse_json(b"[]")),
        ("datetime", lambda _: parse_timestamp("2026-01-31T23:59:59+01:00")),
        ("logging", lambda _: _log.warning("a warning")),
        ("warnings", lambda _: _log.warn("a warning", ResourceWarning)),
        ("warnings", lambda _: _log.warn_caller("a warning", UserWarning)),
        ("pathlib", lambda path: write_checksum_file(path, safety="best_effort")),
        (f"{doctor_module.__name__}.examination", doctor),
    ],
    ids=["hash", "size", "json", "time", "log", "warn", "warn_caller", "path", "doctor"],
)
def test_a_time_out_during_a_late_import_arrives(
    target: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: Callable[[Path], object]
) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(wanted: str, *_: object) -> None:
            if wanted == name:
                raise LateError

    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, name, raising=False)
        patch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
        with pytest.raises(LateError):
            call(target)


@pytest.mark.parametrize("algo", ["sha256", "sha512", "blake2b", "md5", "sha3_256"])
def test_the_interpreters_own_hashes_are_those_of_hashlib(
    chroot: pytest.MonkeyPatch, algo: str
) -> None:
    own = _hashes.new_hash(algo)
    own.update(b"x")
    assert own.hexdigest() == hashlib.new(algo, b"x").hexdigest()
    assert _hashes.digest_size(algo) == own.digest_size
    assert check_algorithm(algo.upper()) == algo


def test_what_is_not_a_hash_is_refused_with_and_without_hashlib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        for name in ("nonsense", "shake_128"):
            assert _hashes.digest_size(name) == 0
        monkeypatch.setitem(sys.modules, "hashlib", None)


def test_an_algorithm_that_can_no_longer_be_loaded_is_named(chroot: pytest.MonkeyPatch) -> None:
    chroot.setitem(sys.modules, "_sha3", None)
    with pytest.raises(ValueError, match="hashlib can no longer be loaded"):
        check_algorithm("sha3_384")
    assert digest_length("sha3_384") is None


def test_an_interpreter_without_a_sha256_of_its_own_has_none(chroot: pytest.MonkeyPatch) -> None:
    for name in ("_sha2", "_sha256"):
        chroot.setitem(sys.modules, name, None)
    assert _hashes._find("sha256") is None
    chroot.setattr(_hashes, "_loaded", {})
    with pytest.raises(ValueError, match="sha256 cannot be computed"):
        _hashes.new_hash("sha256")


def test_a_length_is_known_at_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safeatomic_core._digests._lengths", {})
    for _ in range(2):
        assert digest_length("sha256") == 64
        assert digest_length("crc") is None


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="PyPy runs no finalizers when it ends"
)
@pytest.mark.parametrize("size", [1, 300_000])  # the second has a thread of its own otherwise
def test_an_interpreter_that_goes_down_still_hashes(tmp_path: Path, size: int) -> None:
    code = (
        "import sys, safeatomic_core as sa\n"
        "class Last:\n"
        "    path, size = sys.argv[1], int(sys.argv[2])\n"
        "    def __del__(self): sa.write_atomic(self.path, 'x' * self.size, write_checksum=True)\n"
        "last = Last()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "f"), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert verify_checksum(tmp_path / "f")


def test_a_pair_is_written_read_and_recorded(target: Path, chroot: pytest.MonkeyPatch) -> None:
    for text in ("first", "second"):
        write_atomic(target, text, write_checksum=True)
        assert read_atomic(target, check_checksum=True) == text
    assert str(write_checksum_file(target)) == f"{target}.sha256"
    info = get_checksum_info(target)
    assert info is not None
    assert info.algo == "sha256"
    write_atomic(target, "third")
    assert get_checksum_info(target) is None


def test_a_sidecar_of_another_algorithm_is_recognised_and_its_file_not_called_damaged(
    target: Path, chroot: pytest.MonkeyPatch
) -> None:
    chroot.undo()
    write_atomic(target, "x", write_checksum=True, checksum_algo="sha3_384")
    for name in (*LATER, "_sha3"):
        chroot.setitem(sys.modules, name, None)
    chroot.setattr("safeatomic_core._digests._lengths", {})
    chroot.setattr("safeatomic_core._options._checked_algorithms", {})
    with pytest.raises(SafeAtomicError, match="does not offer"):
        read_atomic(target, check_checksum=True)
    write_atomic(target, "y")
    assert get_checksum_info(target) is None


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]"])
def test_a_document_is_not_taken_for_a_lock(
    target: Path, chroot: pytest.MonkeyPatch, text: str
) -> None:
    lock = target.with_name("data.bin.lock")
    lock.write_text(text)
    assert inspect_lock(target).corrupt
    with pytest.raises(SafeAtomicError, match="JSON document"):
        force_release_lock(target)
    for damaged in ('{"version": 1, "pid": 12, ', "1234"):
        lock.write_text(damaged)
        assert force_release_lock(target)


def test_where_nothing_can_be_imported_nothing_is_said(chroot: pytest.MonkeyPatch) -> None:
    _log.warning("x")
    with chroot.context() as patch:  # pytest itself wants it back
        patch.setitem(sys.modules, "warnings", None)
        _log.warn("x", UserWarning)


def test_a_caller_is_warned_by_the_interpreter_itself(chroot: pytest.MonkeyPatch) -> None:
    heard: list[tuple[object, ...]] = []

    def warn(message: str, category: type[Warning], stacklevel: int) -> None:
        heard.append((message, category, sys._getframe(stacklevel).f_code.co_name))

    with chroot.context() as patch:
        patch.setitem(sys.modules, "warnings", None)
        patch.setattr("_warnings.warn", warn)
        _log.warn_caller("heard", UserWarning)
    here = "test_a_caller_is_warned_by_the_interpreter_itself"
    assert heard == [("heard", UserWarning, here)]


@pytest.mark.parametrize("known", [True, False])
def test_a_doctor_that_cannot_be_loaded_says_so(
    target: Path, chroot: pytest.MonkeyPatch, known: bool
) -> None:
    def refuse(_path: str) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    assert doctor(target).guarantees
    for name in ("examination", "layout"):
        chroot.setitem(sys.modules, f"{doctor_module.__name__}.{name}", None)
        chroot.delattr(doctor_module, name, raising=False)
    if not known:
        chroot.setattr(doctor_module, "inspect_guarantees", refuse)
    report = doctor(target)
    assert not report.ok
    assert [check.name for check in report.checks] == ["inspection"]
    assert "before the process enters a chroot" in report.summary()
    assert set(report.guarantees) == set(_guarantees.unknown_report().guarantees)
