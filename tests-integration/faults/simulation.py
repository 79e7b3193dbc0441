"""A disk that may lose or reorder everything POSIX lets it, fed with recorded system calls.

`Recorder` sits in the seam while the library works in a real directory, and writes down what each
call means to a disk. `Disk` replays such a record up to any point and lists every state in which a
crash at that point may leave the files. It is stricter than any kernel:

- an fsync of a file makes that file's data and metadata durable, an fsync of a directory that
  directory's entries, and nothing else ever does (fsync(2), POSIX.1-2017 fsync());
- until then every 512-byte sector of every write, every change of size, every chmod, chown and
  extended attribute reaches the disk or not, independently of all others; what was not written
  reads as NULs; a truncation may also leave NULs where the cut-off bytes were;
- every name of every directory shows, independently, any one of the files it has pointed to since
  that directory was last flushed, or none if there was none at some time.

Three things are taken for granted. A sector is written as a whole (a lock's payload is one
sector). The mode with which a file is created is there when its name is. And a rename that nobody
flushed does not lose the old name before the new one is there. Whether an fsync of the old
directory alone may do so, when a rename leads to another directory, is for the caller to say:
POSIX does not forbid it, and no kernel that is known does it.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import safeatomic_core as sa
from safeatomic_core import _posix
from safeatomic_core._errors import UNCHANGED
from safeatomic_core._temp_file import SUM_PREFIX, is_temp_name

from .deaths import bury, without_last_wishes
from .injection import callers
from .judging import claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .oracle import Operation

SECTOR = 512
_ALL_SUBSETS = 8  # changes to one file of which every subset is tried; beyond that a sample
_SAMPLE = 60

Name = tuple[str, str]  # directory (a path relative to the root) and name in it


@dataclass(frozen=True)
class File:
    """A file as a disk holds it."""

    content: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    xattrs: frozenset[tuple[str, bytes]] = frozenset()


State = dict[Name, File]


@dataclass(frozen=True)
class Op:
    """One recorded effect.

    Attributes:
        kind: create, link, rename, unlink, write, truncate, chmod, chown, setxattr, removexattr,
            fsync, fsyncdir; or, for the oracle alone, begin (of an operation), return (what it did
            is acknowledged) and fail (it says that nothing has changed).
        caller: The library's functions that made the call, innermost first.
        args: What the kind needs; files are numbered in the order in which they appear.
    """

    kind: str
    caller: str
    args: tuple[Any, ...]


class Killed(BaseException):
    """The process is dead: no further system call has any effect."""


class Recorder:
    """Writes down what the library's system calls mean to a disk.

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
        """Take note of files that are there, on disk or only in memory."""
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
        """Let somebody else replace a file as most programs do: by a rename that is not flushed."""
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


@dataclass
class _Inode:
    """A file: what is on disk, and the changes that are not there for sure."""

    durable: File
    pending: list[Op] = field(default_factory=list)


# A value that a name may show: the file or None, and the rename that took it away, if one did.
_Value = tuple[int | None, int | None]


@dataclass
class _Entry:
    """A name: what is on disk, and what it has pointed to since its directory was flushed."""

    durable: int | None = None
    pending: list[_Value] = field(default_factory=list)


class Disk:
    """The replay of a record, up to some point.

    Attributes:
        sampled: Whether there were too many states to list, and some were left out.
    """

    def __init__(self, seed: int = 1, *, whole_renames: bool = False) -> None:
        """Begin with an empty disk.

        Args:
            seed: Seed of what is sampled.
            whole_renames: A rename between directories reaches the disk as one, even when only the
                old directory is flushed.
        """
        self.sampled = False
        self._whole_renames = whole_renames
        self._seed = seed
        self._inodes: dict[int, _Inode] = {}
        self._names: dict[Name, _Entry] = {}
        self._arrivals: dict[int, tuple[Name, int]] = {}  # rename: where it arrived, the file
        self._renames = 0
        self._contents: dict[int, list[File]] = {}

    def apply(self, op: Op) -> None:
        """Take one more effect into memory, or everything it flushes to the disk."""
        args = op.args
        if op.kind == "create":
            self._inodes[args[0]] = _Inode(File(mode=args[1]))
        elif op.kind == "link":
            self._entry(args[0]).pending.append((args[1], None))
        elif op.kind == "unlink":
            self._entry(args[0]).pending.append((None, None))
        elif op.kind == "rename":
            src, dst, number = args
            self._renames += 1
            self._arrivals[self._renames] = (dst, number)
            self._entry(dst).pending.append((number, None))
            self._entry(src).pending.append((None, self._renames))
        elif op.kind == "fsyncdir":
            for (directory, _), entry in self._names.items():
                if directory == args[0] and entry.pending:
                    if self._whole_renames:
                        self._bring_along([rename for _, rename in entry.pending if rename])
                    entry.durable = entry.pending[-1][0]
                    entry.pending.clear()
        elif op.kind == "fsync":
            inode = self._inodes[args[0]]
            inode.durable = _changed(inode.durable, [u for o in inode.pending for u in _units(o)])
            inode.pending.clear()
            self._contents.pop(args[0], None)
        elif op.kind not in ("begin", "return", "fail"):
            self._inodes[args[0]].pending.append(op)
            self._contents.pop(args[0], None)

    def states(self) -> Iterator[State]:
        """List what a crash may leave; temps are there whenever they can be."""
        names = sorted(self._names)
        options = [self._options(name) for name in names]
        for choice in itertools.product(*options):
            chosen = dict(zip(names, choice, strict=True))
            if not self._possible(chosen):
                continue
            present = [(name, value[0]) for name, value in chosen.items() if value[0] is not None]
            numbers = sorted({number for name, number in present if not _is_temp(name)})
            for files in itertools.product(*(self._files(number) for number in numbers)):
                by_number = dict(zip(numbers, files, strict=True))
                yield {
                    name: by_number.get(number, _RECORD if _is_record(name) else _ORPHAN)
                    for name, number in present
                }

    def _bring_along(self, renames: list[int]) -> None:
        """Make the arrival of renames durable whose departure is."""
        for rename in renames:
            dst, number = self._arrivals[rename]
            entry = self._names[dst]
            arrived = [value for value, _ in entry.pending]
            if number in arrived:
                entry.durable = number
                del entry.pending[: arrived.index(number) + 1]

    def _entry(self, name: Name) -> _Entry:
        return self._names.setdefault(name, _Entry())

    def _options(self, name: Name) -> list[_Value]:
        entry = self._names[name]
        options: list[_Value] = list(dict.fromkeys([(entry.durable, None), *entry.pending]))
        if _is_temp(name):
            return [next((one for one in options if one[0] is not None), options[0])]
        return options

    def _possible(self, chosen: dict[Name, _Value]) -> bool:
        """A name that only a rename took away is not gone before the file has arrived."""
        for _, rename in chosen.values():
            if rename is None:
                continue
            dst, number = self._arrivals[rename]
            entry = self._names[dst]
            arrived = [value for value, _ in entry.pending]
            if number in arrived and chosen[dst][0] not in arrived[arrived.index(number) :]:
                return False
        return True

    def _files(self, number: int) -> list[File]:
        """List what a file may hold after a crash."""
        known = self._contents.get(number)
        if known is None:
            inode = self._inodes[number]
            units = [unit for op in inode.pending for unit in _units(op)]
            found = (_changed(inode.durable, subset) for subset in self._subsets(units))
            known = self._contents[number] = list(dict.fromkeys(found))
        return known

    def _subsets(self, units: list[Op]) -> Iterator[list[Op]]:
        variants = [
            (None, unit) if unit.kind != "truncate" else (None, unit, _zeroing(unit))
            for unit in units
        ]
        if len(units) <= _ALL_SUBSETS:
            for choice in itertools.product(*variants):
                yield [unit for unit in choice if unit is not None]
            return
        self.sampled = True
        yield []
        yield units
        for unit in units:
            yield [unit]
            yield [other for other in units if other is not unit]
        rng = random.Random(self._seed)
        for _ in range(_SAMPLE):
            yield [unit for unit in (rng.choice(one) for one in variants) if unit is not None]


_ORPHAN = File(b"whatever a temp holds")
_RECORD = File(b"0" * 64 + b"  whatever\n")  # a record, or a sidecar that was displaced


def _is_temp(name: Name) -> bool:
    return is_temp_name(name[1])


def _is_record(name: Name) -> bool:
    return name[1].startswith(SUM_PREFIX)


def _units(op: Op) -> list[Op]:
    """Split a change into what reaches the disk as a whole: sectors, and the size."""
    if op.kind != "write":
        return [op]
    number, offset, data = op.args
    units = [Op("extend", op.caller, (number, offset + len(data)))]
    position = offset
    while position < offset + len(data):
        end = min((position // SECTOR + 1) * SECTOR, offset + len(data))
        piece = data[position - offset : end - offset]
        units.append(Op("sector", op.caller, (number, position, piece)))
        position = end
    return units


def _zeroing(op: Op) -> Op:
    return Op("zero", op.caller, op.args)


def _changed(file: File, units: list[Op]) -> File:
    """Return a file after some changes have reached the disk, in the order they were made."""
    content = bytearray(file.content)
    size = len(content)
    mode, owner, xattrs = file.mode, file.owner, dict(file.xattrs)
    for unit in units:
        args = unit.args
        if unit.kind == "extend":
            size = max(size, args[1])
        elif unit.kind == "sector":
            end = args[1] + len(args[2])
            content.extend(b"\0" * (end - len(content)))
            content[args[1] : end] = args[2]
        elif unit.kind == "truncate":
            size = args[1]
            del content[size:]
        elif unit.kind == "zero":
            content[args[1] :] = b"\0" * (len(content) - args[1])
        elif unit.kind == "chmod":
            mode = args[1]
        elif unit.kind == "chown":
            owner = args[1]
        elif unit.kind == "setxattr":
            xattrs[args[1]] = args[2]
        elif unit.kind == "removexattr":
            xattrs.pop(args[1], None)
        else:
            raise AssertionError(unit.kind)
    content.extend(b"\0" * (size - len(content)))
    return File(bytes(content[:size]), mode, owner, frozenset(xattrs.items()))
