"""Whose fsync a process calls, and the quota of its user."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

import pytest

from safeatomic_core._doctor import process, storage

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/maps"), reason="no /proc/self/maps here"
)


def test_the_c_library_provides_fsync() -> None:
    assert process.is_c_library(process.fsync_provider())


@pytest.mark.parametrize(
    ("by_library", "provider"),
    [
        ({"/lib/liba.so": "/lib/libc.so.6", "/lib/libb.so": "/lib/libc.so.6"}, "/lib/libc.so.6"),
        ({"/lib/liba.so": "/lib/libc.so.6", "/lib/eat.so": "/lib/eat.so"}, "/lib/eat.so"),
        ({"/lib/gone.so": ""}, "python"),
        ({"/lib/gone.so": "", "/lib/libb.so": "/lib/libc.so.6"}, "/lib/libc.so.6"),
        ({}, "python"),
    ],
)
def test_a_program_with_an_entry_of_its_own_is_looked_behind(
    monkeypatch: pytest.MonkeyPatch, by_library: dict[str, str], provider: str
) -> None:
    def provider_in(library: str | None) -> str:
        if library is None:
            return "python"
        if not by_library[library]:
            raise AttributeError("undefined symbol: fsync")
        return by_library[library]

    monkeypatch.setattr(process, "_provider_in", provider_in)
    monkeypatch.setattr(process, "_loaded_libraries", lambda: sorted(by_library))
    assert process.fsync_provider() == provider


def test_a_library_that_is_not_loaded_is_not_loaded_to_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, modes = ctypes.CDLL, dict[str | None, int]()

    def loading(library: str | None, mode: int = ctypes.DEFAULT_MODE) -> ctypes.CDLL:
        modes.setdefault(library, mode)
        return real(library, mode=mode)

    monkeypatch.setattr(ctypes, "CDLL", loading)
    process._provider_in(None)
    with pytest.raises(OSError):  # noqa: PT011 - dlopen(3) gives no number
        process._provider_in("/nowhere/lib.so")
    assert modes["/nowhere/lib.so"] == os.RTLD_NOLOAD | os.RTLD_LAZY


def test_every_loaded_library_can_be_asked_or_refuses() -> None:
    libraries = process._loaded_libraries()
    assert any(process.is_c_library(library) for library in libraries)
    for library in libraries:
        try:
            found = process._provider_in(library)
        except (OSError, AttributeError):
            continue
        assert process.is_c_library(found) or "san" in found, found


def test_a_library_s_path_may_hold_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"7f0-7f1 r-xp 00000000 08:01 77    /opt/our own/libours.so\n7f2-7f3 rw-p 0 00:00 0 \n"
    monkeypatch.setattr(process, "read_proc", lambda _path: lines)
    assert process._loaded_libraries() == ["/opt/our own/libours.so"]


@pytest.mark.parametrize("late", [TimeoutError, OSError])
def test_a_time_out_is_not_taken_for_a_library_that_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, late: type[OSError]
) -> None:
    def provider_in(library: str | None) -> str:
        if library is None:
            return "python"
        raise late("a signal handler's")

    monkeypatch.setattr(process, "_provider_in", provider_in)
    monkeypatch.setattr(process, "_loaded_libraries", lambda: ["/lib/liba.so"])
    with pytest.raises(late, match="a signal handler's"):
        process.fsync_provider()


@pytest.mark.parametrize(("found", "named"), [(0, b""), (0, b"/lib/libc.so.6"), (1, b"")])
def test_a_provider_that_cannot_be_found_is_an_error(
    monkeypatch: pytest.MonkeyPatch, found: int, named: bytes
) -> None:
    real = ctypes.CDLL

    class Libc:
        fsync = real(None).fsync

        class dladdr:  # noqa: N801
            argtypes: object = None

            def __new__(cls, _address: object, info: Any) -> int:  # type: ignore[misc]
                info._obj.fname = named
                return found

    monkeypatch.setattr(ctypes, "CDLL", lambda _name, **_options: Libc)
    with pytest.raises(FileNotFoundError):
        process.fsync_provider()


def test_a_device_without_quota_is_an_error() -> None:
    with pytest.raises(OSError, match=r"[Bb]lock device|No such process|not implemented|permitted"):
        process.quota("/dev/null", 0, os.geteuid())


@pytest.mark.parametrize("platform", ["darwin", "freebsd14"])
def test_a_quotactl_with_other_arguments_is_not_called(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", None)
    with pytest.raises(OSError, match="other arguments") as caught:
        process.quota("/dev/disk", 0, 7)
    assert caught.value.errno not in storage._NO_QUOTA  # it is not known that there is none


def test_limits_of_a_quota_are_given_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        @staticmethod
        def quotactl(command: int, device: bytes, number: int, block: object) -> int:
            assert command == 0x80000701  # QCMD(Q_GETQUOTA, GRPQUOTA) of <sys/quota.h>
            assert (device, number) == (b"/dev/disk", 7)
            assert ctypes.sizeof(block._obj) == 72  # type: ignore[attr-defined]  # struct dqblk
            for index, value in enumerate((10, 8, 4096, 100, 80, 3)):
                block._obj[index] = value  # type: ignore[attr-defined]
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda _name, **_options: Libc)
    assert process.quota("/dev/disk", 1, 7) == (10240, 8192, 4096, 100, 80, 3)
