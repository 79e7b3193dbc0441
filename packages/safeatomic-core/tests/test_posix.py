from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _posix
from safeatomic_core._posix import ENTRIES, intercept, kernel


def test_every_entry_can_be_replaced_and_comes_back() -> None:
    before = {name: getattr(kernel, name) for name in ENTRIES}
    seen: list[str] = []

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        seen.append(name)
        return lambda *args, **kwargs: call(*args, **kwargs)

    with intercept(wrap):
        assert kernel.fsync is not before["fsync"]
        with intercept(wrap):
            pass
        assert kernel.fsync is not before["fsync"]
    assert set(seen) == set(ENTRIES)
    assert all(getattr(kernel, name) is call for name, call in before.items())


def test_a_missing_call_says_so() -> None:
    call: Callable[[], None] = _posix._or_missing("teleport", None)
    with pytest.raises(OSError, match="teleport is not available") as caught:
        call()
    assert caught.value.errno == errno.ENOSYS
    assert _posix._or_missing("getpid", os.getpid) is os.getpid


@pytest.mark.parametrize(
    ("code", "expected"), [(None, "full"), (errno.ENOTSUP, "plain"), (errno.EIO, "error")]
)
def test_macos_flushes_the_drive_and_falls_back(
    monkeypatch: pytest.MonkeyPatch, code: int | None, expected: str
) -> None:
    calls: list[str] = []

    class Fcntl:
        @staticmethod
        def fcntl(_fd: int, command: int) -> None:
            assert command == 51
            if code is not None:
                raise OSError(code, "no")
            calls.append("full")

    monkeypatch.setattr(_posix, "fcntl", Fcntl)
    monkeypatch.setattr(os, "fsync", lambda _fd: calls.append("plain"))
    if expected == "error":
        with pytest.raises(OSError, match="no"):
            _posix._fsync(3)
        assert calls == []
    else:
        _posix._fsync(3)
        assert calls == [expected]


def test_an_anonymous_file_needs_kernel_support(
    tmp_path: Path,
) -> None:
    with pytest.raises(OSError, match="O_TMPFILE") as caught:
        _posix._opener_of_anonymous(0)(0o600, dir_fd=0)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_an_exclusive_rename_refuses_an_existing_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    dir_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            kernel.rename_noreplace("a", "b", dir_fd, dir_fd)
        kernel.rename_noreplace("a", "c", dir_fd, dir_fd)
    finally:
        os.close(dir_fd)
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]


@pytest.mark.parametrize(
    ("platform", "name", "flags"),
    [("linux", "renameat2", [1, 2]), ("darwin", "renameatx_np", [4, 2])],
)
def test_a_rename_with_a_flag_is_the_platform_s(
    monkeypatch: pytest.MonkeyPatch, platform: str, name: str, flags: list[int]
) -> None:
    import ctypes

    given: list[tuple[object, ...]] = []

    class Libc:
        def __init__(self) -> None:
            def rename(*args: object) -> int:
                given.append(args)
                return 0

            setattr(self, name, rename)

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_kwargs: Libc())
    call = _posix._find_renameat2()
    for which in (0, 1):
        call(which, "a", "b", 5, 6)
    assert given == [(5, b"a", 6, b"b", flag) for flag in flags]


def test_a_libc_without_an_exclusive_rename_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_kwargs: object())
    call = _posix._find_renameat2()
    with pytest.raises(OSError, match="renameat") as caught:
        call(0, "a", "b", 0, 0)
    assert caught.value.errno == errno.ENOSYS


def test_a_place_without_ctypes_has_no_such_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    call = _posix._find_renameat2()
    with pytest.raises(OSError, match="renameat") as caught:
        call(1, "a", "b", 0, 0)
    assert caught.value.errno == errno.ENOSYS


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, os.strerror(errno.EMFILE), "ctypes/__init__.py"),
        OSError(errno.ENFILE, os.strerror(errno.ENFILE)),
        ImportError(f"_ctypes.so: cannot open shared object file: {os.strerror(errno.EMFILE)}"),
    ],
    ids=["EMFILE", "ENFILE", "dlopen"],
)
def test_a_rename_that_could_not_be_loaded_for_want_of_descriptors_is_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    class Full:
        @staticmethod
        def find_spec(wanted: str, *_: object) -> None:
            if wanted == "ctypes":
                raise error

    monkeypatch.setattr(_posix, "_renameat2", None)
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "ctypes", raising=False)
        patch.setattr(sys, "meta_path", [Full, *sys.meta_path])
        with pytest.raises(OSError, match="not available") as caught:
            kernel.rename_exchange("a", "b", -1, -1)
    assert caught.value.errno == errno.ENOSYS
    assert _posix._renameat2 is None
    test_two_names_are_exchanged(tmp_path)


def test_two_names_are_exchanged(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    fd = os.open(tmp_path, os.O_RDONLY)
    kernel.rename_exchange("a", "b", fd, fd)
    os.close(fd)
    assert (tmp_path / "a").read_text() == "b"


def test_a_name_that_cannot_be_looked_up_is_no_missing_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(OSError, match="no"):
        _posix._exists_at("x", 0)


def test_a_platform_without_fcntl_can_import_the_library() -> None:
    code = (
        "import sys; sys.modules['fcntl'] = None; from safeatomic_core import _posix; "
        "assert _posix.fcntl is None"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_platform_that_cannot_ask_for_the_effective_user_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> bool:
        raise NotImplementedError

    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert kernel.access(".", os.R_OK, fd) is True
        monkeypatch.setattr(os, "access", refuse)
        assert kernel.access(".", os.R_OK, fd) is False
    finally:
        os.close(fd)


def test_an_anonymous_file_is_written_before_it_has_a_name(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fd = kernel.open_anonymous(0o600, dir_fd=directory)
    except OSError as error:
        assert error.errno in (errno.EOPNOTSUPP, errno.EISDIR)
    else:
        assert os.write(fd, b"x") == 1
        assert os.fstat(fd).st_nlink == 0
        assert os.listdir(tmp_path) == []
        kernel.link_anonymous(fd, "named", directory)
        os.close(fd)
        assert (tmp_path / "named").read_bytes() == b"x"
    finally:
        os.close(directory)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="this system has no extended attributes")
def test_attributes_are_those_of_the_name_not_of_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    try:
        os.setxattr(tmp_path / "file", "user.note", b"x")
    except OSError:
        pytest.skip("this filesystem has no extended attributes")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert "user.note" in kernel.listxattr_at("file", directory)
        assert kernel.getxattr_at("file", "user.note", directory) == b"x"
        assert "user.note" not in kernel.listxattr_at("link", directory)
        with pytest.raises(OSError):  # noqa: PT011 - EPERM or ENODATA
            kernel.getxattr_at("link", "user.note", directory)
    finally:
        os.close(directory)


def test_a_directory_is_listed_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[tuple[int, int, int]] = []
    really = os.lseek

    def lseek(fd: int, offset: int, whence: int) -> int:
        sought.append((fd, offset, whence))
        return really(fd, offset, whence)

    monkeypatch.setattr(os, "lseek", lseek)
    (tmp_path / "file").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert kernel.listdir(fd) == ["file"]
        assert sought == [(fd, 0, os.SEEK_SET)]
    finally:
        os.close(fd)


def test_a_stream_over_the_table_is_cut_as_any_other(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file, intercept(lambda _name, call: call):
        stream = kernel.raw_stream(file.fileno(), "wb")
        stream.write(b"0123456789")
        assert stream.fileno() == file.fileno()
        assert stream.seek(7) == 7
        assert stream.truncate() == 7
        assert os.fstat(file.fileno()).st_size == 7
        assert stream.truncate(3) == 3
        assert os.fstat(file.fileno()).st_size == 3


def test_the_numbers_of_locks_are_the_system_s() -> None:
    fcntl = pytest.importorskip("fcntl", reason="this system has no flock")
    ours = _posix.LOCK_SH, _posix.LOCK_EX, _posix.LOCK_NB
    assert ours == (fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_NB)


def test_access_is_asked_for_the_effective_user_and_for_the_link_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def access(_name: str, _mode: int, **options: object) -> bool:
        asked.update(options)
        return True

    monkeypatch.setattr(os, "access", access)
    assert kernel.access("name", os.W_OK, 7)
    assert asked == {"dir_fd": 7, "effective_ids": True, "follow_symlinks": False}


@pytest.mark.parametrize(("platform", "call"), [("linux", "os.fsync"), ("darwin", "_posix._fsync")])
def test_a_flush_is_the_platform_s(platform: str, call: str) -> None:
    code = f"""
import os, sys
sys.platform = {platform!r}
from safeatomic_core import _posix
assert _posix.kernel.fsync is {call}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["link", "listxattr", "getxattr"])
def test_what_an_os_module_lacks_is_missing_by_name_as_well(name: str) -> None:
    code = f"""
import os
if hasattr(os, {name!r}):
    delattr(os, {name!r})
from safeatomic_core._posix import kernel
for call in (kernel.{name}, kernel.{name}{"_anonymous" if name == "link" else "_at"}):
    try:
        call(0, "", 0)
    except OSError as error:
        assert "is not available" in str(error)
    else:
        raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


NAMED = ("O_PATH", "O_TMPFILE")


@pytest.mark.skipif(
    not all(hasattr(os, name) for name in NAMED), reason="this os names no numbers to compare with"
)
@pytest.mark.parametrize(
    ("platform", "implementation", "known"),
    [("linux", "pypy", True), ("darwin", "pypy", False), ("linux", "cpython", False)],
)
def test_numbers_that_an_os_module_lacks_are_those_of_linux(
    platform: str, implementation: str, known: bool
) -> None:
    code = f"""
import os, sys
numbers = [(name, getattr(os, name)) for name in {NAMED}]
for name, _ in numbers:
    delattr(os, name)
sys.platform, sys.implementation.name = {platform!r}, {implementation!r}
from safeatomic_core import _posix
for name, number in numbers:
    assert getattr(_posix, name) == (number if {known} else 0), name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


FLAGS = ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "POSIX_FADV_DONTNEED")


def test_flags_that_a_system_lacks_ask_for_nothing() -> None:
    code = f"""
import os
for name in {FLAGS}:
    if hasattr(os, name):
        delattr(os, name)
from safeatomic_core import _posix
for name in {FLAGS}:
    assert getattr(_posix, name) == 0, name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_link_that_leads_nowhere_is_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert kernel.exists_at("link", directory)
        assert not kernel.exists_at("nowhere", directory)
        assert not kernel.exists_at("x" * 300, directory)
    finally:
        os.close(directory)


def test_a_libc_that_cannot_be_asked_for_want_of_executable_memory_has_no_such_rename(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ctypes

    def no_memory(*_args: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ctypes, "CDLL", no_memory)
    monkeypatch.setattr(_posix, "_renameat2", None)
    with pytest.raises(OSError, match="not available") as caught:
        kernel.rename_noreplace("a", "b", 0, 0)
    assert caught.value.errno == errno.ENOSYS
