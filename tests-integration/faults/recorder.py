"""The record of a real operation: the effect of each of its system calls on a disk."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import safeatomic_core as sa
from safeatomic_core import _posix
from safeatomic_core._errors import UNCHANGED

from .deaths import bury, without_last_wishes
from .effects import Op
from .injection import callers
from .judging import claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .effects import Name, State
    from .oracle import Operation


class Killed(BaseException):
    """The process is dead: no further system call has any effect."""


class Recorder:
    """Records the effects of the library's system calls on a disk.

    Attributes:
        ops: What was recorded so far.
        calls: How many calls of the seam the present operation has made.
    """

    def __init__(self, root: str) -> None:
        self.ops: list[Op] = []
        self.calls = 0
        self._root = root
        self._directories = dict(_directories(root))
        self._files = 0
        self._names: dict[Name, int] = {}  # as they are now, in the real directory
        self._fds: dict[int, int | str] = {}  # file number or directory
        self._die_at: int | None = None
        self._fail_at: int | None = None

    def adopt(self, state: State, *, durable: bool = True) -> None:
        """Register existing files, on disk or only in memory."""
        for name, file in sorted(state.items()):
            number = self._create(name, file.mode)
            self.ops.append(Op("write", "setup", (number, 0, file.content)))
            self.ops.append(Op("chmod", "setup", (number, file.mode)))
            self.ops.append(Op("chown", "setup", (number, file.owner)))
            self.ops += [Op("setxattr", "setup", (number, *xattr)) for xattr in file.xattrs]
            if durable:
                self.ops.append(Op("fsync", "setup", (number,)))
        if durable:
            self.ops += [Op("fsyncdir", "setup", (one,)) for one in self._directories.values()]

    def run(
        self, operation: Operation, *, die_at: int | None = None, fail_at: int | None = None
    ) -> bool:
        """Run an operation of the library and record it.

        Args:
            operation: One public call.
            die_at: Number of the call before which the process is killed, counted from 1.
            fail_at: Number of the call that fails with EIO instead of being done.

        Returns:
            Whether it returned; False if it failed or was killed.
        """
        self.calls = 0
        self._die_at = die_at
        self._fail_at = fail_at
        self.ops.append(Op("begin", "", (operation,)))
        mortal = nullcontext() if die_at is None else without_last_wishes()
        try:
            with mortal, _posix.intercept(self._wrap):
                operation.call(self._root)
        except (OSError, sa.SafeAtomicError) as error:
            if fail_at is None:
                raise
            if claim(error) == UNCHANGED and operation.name != "record":
                self.ops.append(Op("fail", "", ()))
            return False
        except Killed:
            bury(self._fds)
            self._fds.clear()
            return False
        self.ops.append(Op("return", "", ()))
        return True

    def foreign(self, name: Name, content: bytes, *, flushed: bool) -> None:
        """Replace a file as most other programs do: by a rename without a flush."""
        path = os.path.join(self._root, *name)
        with open(path + ".foreign", "wb") as file:
            file.write(content)
        os.chmod(path + ".foreign", 0o644)
        number = self._create((name[0], name[1] + ".foreign"), 0o644)
        self.ops.append(Op("write", "setup", (number, 0, content)))
        if flushed:
            self.ops.append(Op("fsync", "setup", (number,)))
        os.rename(path + ".foreign", path)
        self._rename("setup", (name[0], name[1] + ".foreign"), name)

    def _wrap(self, entry: str, call: Callable[..., Any]) -> Callable[..., Any]:
        record = getattr(self, f"_on_{entry}", None)

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self._die_at is not None and self.calls >= self._die_at:
                if entry == "close":  # the kernel closes what a dead process had open
                    self._fds.pop(args[0], None)
                    return call(*args, **kwargs)
                raise Killed
            if self.calls == self._fail_at:
                if entry == "close":
                    self._fds.pop(args[0], None)
                    call(*args, **kwargs)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if entry == "fsync":
                os.fstat(args[0])
                result = None
            elif entry == "write":
                position = os.lseek(args[0], 0, os.SEEK_CUR)
                result = call(*args, **kwargs)
                data = bytes(memoryview(args[1])[:result])
                self._add("write", self._fds[args[0]], position, data)
                return result
            else:
                result = call(*args, **kwargs)
            if record is not None:
                record(result, *args, **kwargs)
            return result

        return stand_in

    def _add(self, kind: str, *args: Any) -> None:
        self.ops.append(Op(kind, callers(1), args))

    def _create(self, name: Name | None, mode: int) -> int:
        self._files += 1
        number = self._files
        self.ops.append(Op("create", callers(1), (number, mode)))
        if name is not None:
            self._names[name] = number
            self.ops.append(Op("link", callers(1), (name, number)))
        return number

    def _name(self, name: str, dir_fd: int | None) -> Name:
        directory = self._fds[dir_fd] if dir_fd is not None else None
        if not isinstance(directory, str):
            raise AssertionError(f"{name!r} is not used relative to the directory of the target")
        return directory, name

    def _on_open(
        self, fd: int, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> None:
        if flags & os.O_DIRECTORY:
            status = os.fstat(fd)
            self._fds[fd] = self._directories[status.st_dev, status.st_ino]
            return
        name = self._name(path, dir_fd)
        if flags & os.O_CREAT:
            self._create(name, os.fstat(fd).st_mode & 0o7777)
        self._fds[fd] = self._names[name]

    def _on_open_anonymous(self, fd: int, mode: int, *, dir_fd: int) -> None:
        self._fds[fd] = self._create(None, os.fstat(fd).st_mode & 0o7777)

    def _on_close(self, _: None, fd: int) -> None:
        self._fds.pop(fd, None)

    def _on_pwrite(self, written: int, fd: int, data: bytes, offset: int) -> None:
        self._add("write", self._fds[fd], offset, bytes(data[:written]))

    def _on_ftruncate(self, _: None, fd: int, size: int) -> None:
        self._add("truncate", self._fds[fd], size)

    def _on_fsync(self, _: None, fd: int) -> None:
        what = self._fds[fd]
        self._add("fsyncdir" if isinstance(what, str) else "fsync", what)

    def _on_fchmod(self, _: None, fd: int, mode: int) -> None:
        self._add("chmod", self._fds[fd], mode)

    def _on_fchown(self, _: None, fd: int, uid: int, gid: int) -> None:
        status = os.fstat(fd)
        self._add("chown", self._fds[fd], (status.st_uid, status.st_gid))

    def _on_setxattr(self, _: None, fd: int, name: str, value: bytes) -> None:
        self._add("setxattr", self._fds[fd], name, value)

    def _on_removexattr(self, _: None, fd: int, name: str) -> None:
        self._add("removexattr", self._fds[fd], name)

    def _on_rename(self, _: None, src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        self._rename(callers(1), self._name(src, src_dir_fd), self._name(dst, dst_dir_fd))

    def _on_rename_noreplace(
        self, _: None, src: str, dst: str, src_dir_fd: int, dst_dir_fd: int
    ) -> None:
        self._rename(callers(1), self._name(src, src_dir_fd), self._name(dst, dst_dir_fd))

    def _on_rename_exchange(
        self, _: None, src: str, dst: str, src_dir_fd: int, dst_dir_fd: int
    ) -> None:
        one, other = self._name(src, src_dir_fd), self._name(dst, dst_dir_fd)
        self._names[one], self._names[other] = self._names[other], self._names[one]
        for name in (other, one):
            self._add("link", name, self._names[name])

    def _rename(self, caller: str, src: Name, dst: Name) -> None:
        number = self._names.pop(src)
        self._names[dst] = number
        self.ops.append(Op("rename", caller, (src, dst, number)))

    def _on_link(
        self,
        _: None,
        src: str,
        dst: str,
        *,
        src_dir_fd: int,
        dst_dir_fd: int,
        follow_symlinks: bool,
    ) -> None:
        number = self._names[self._name(src, src_dir_fd)]
        name = self._name(dst, dst_dir_fd)
        self._names[name] = number
        self._add("link", name, number)

    def _on_link_anonymous(self, _: None, fd: int, name: str, dir_fd: int) -> None:
        number = self._fds[fd]
        assert isinstance(number, int)
        self._names[self._name(name, dir_fd)] = number
        self._add("link", self._name(name, dir_fd), number)

    def _on_unlink(self, _: None, name: str, *, dir_fd: int) -> None:
        del self._names[self._name(name, dir_fd)]
        self._add("unlink", self._name(name, dir_fd))


def _directories(root: str) -> Iterator[tuple[tuple[int, int], str]]:
    for parent, _, _ in os.walk(root):
        status = os.stat(parent)
        yield (status.st_dev, status.st_ino), os.path.relpath(parent, root)
