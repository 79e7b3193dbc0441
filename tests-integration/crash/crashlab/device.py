"""A block device that records: one FUSE file whose every write and flush is logged in order.

A loop device on top of the file turns a filesystem's block requests into writes, ``fsync`` and
``fallocate`` calls on it. The kernel passes them to the small server below (the FUSE protocol as in
<linux/fuse.h>, without a library). The workload writes *marks* to a second file, so that one log
contains both the filesystem's requests and the application's knowledge at each moment.

The device can also fail on purpose: after `RecordingDevice.fail`, the n-th write or flush gets EIO,
once, several times or for ever; a failed write is neither stored nor logged.

    with RecordingDevice(directory, size=32 << 20) as device:
        ...                              # attach device.path to a loop device, make a filesystem
        device.mark({"begin": 1})        # what the application knows
        device.fail("flush", nth=2)      # the second flush from here on reports EIO
        device.heal()                    # no more failures
    records = device.records()
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import struct
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from .isolation import die_with_parent, mount, unmount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

Kind = Literal["write", "zero", "flush", "mark"]


class Record(NamedTuple):
    """One entry of the log.

    Attributes:
        kind: ``write``, ``zero`` (a discarded or zeroed range), ``flush`` or ``mark``.
        offset: In bytes, for ``write`` and ``zero``.
        length: In bytes, for ``write`` and ``zero``.
        data: What was written, or the JSON text of a mark.
    """

    kind: Kind
    offset: int = 0
    length: int = 0
    data: bytes = b""


class RecordingDevice:
    """The device, served by a child process for the length of a ``with`` block.

    Args:
        directory: An existing directory, best on a tmpfs, for the mount point, content and log.
        size: Size of the device in bytes.

    Attributes:
        path: The file to attach a loop device to.
    """

    def __init__(self, directory: str, size: int) -> None:
        self._mount_point = f"{directory}/device"
        self._content = f"{directory}/device.content"
        self._log = f"{directory}/device.log"
        self._size = size
        self._server = 0
        self._control = -1
        self.path = f"{self._mount_point}/disk"

    def __enter__(self) -> Self:
        os.makedirs(self._mount_point, exist_ok=True)
        ready, tell = os.pipe()
        self._server = os.fork()
        if self._server == 0:
            os.close(ready)
            _serve_forever(self._mount_point, self._content, self._log, self._size, tell)
        os.close(tell)
        with open(ready, "rb", closefd=True) as pipe:
            if pipe.read(1) != b"1":
                os.waitpid(self._server, 0)
                raise RuntimeError("the FUSE server did not start")
        self._control = os.open(f"{self._mount_point}/control", os.O_WRONLY | os.O_CLOEXEC)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._control)
        try:
            unmount(self._mount_point, patience_s=5.0)
        finally:
            # After a lazy unmount that still has users, the server would never end by itself.
            with contextlib.suppress(ProcessLookupError):
                if not _ended_within(self._server, 2.0):
                    os.kill(self._server, signal.SIGKILL)
                    os.waitpid(self._server, 0)

    def mark(self, fact: Mapping[str, object]) -> None:
        """Write a fact to the log, after every request that has reached the device so far."""
        os.write(self._control, b"mark " + json.dumps(fact).encode())

    def fail(
        self, operation: Literal["write", "flush"], *, nth: int = 1, times: int | None = 1
    ) -> None:
        """Answer coming requests with EIO.

        Args:
            operation: Which requests; zeroing and discarding count as writes.
            nth: The first one that fails, counted from now on, from 1.
            times: How many fail from there on; None for all of them.
        """
        until = -1 if times is None else nth + times
        os.write(self._control, f"fail {operation} {nth} {until}".encode())

    def heal(self) -> None:
        """Fail no more requests."""
        os.write(self._control, b"heal")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Answer no request for the length of a ``with`` block; marks have to wait as well."""
        os.kill(self._server, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._server, signal.SIGCONT)

    def records(self) -> list[Record]:
        """Return the log so far."""
        return load(self._log)


_ENTRY = struct.Struct("<cQI")
_KINDS: dict[bytes, Kind] = {b"W": "write", b"Z": "zero", b"F": "flush", b"M": "mark"}
_CODES: dict[Kind, bytes] = {kind: code for code, kind in _KINDS.items()}


def load(path: str) -> list[Record]:
    """Return the log that a file holds."""
    with open(path, "rb") as file:
        content = file.read()
    records = []
    at = 0
    while at < len(content):
        code, offset, length = _ENTRY.unpack_from(content, at)
        at += _ENTRY.size
        data = b""
        if code in b"WM":
            data = content[at : at + length]
            at += length
        records.append(Record(_KINDS[code], offset, length, data))
    return records


def save(records: Iterable[Record], path: str) -> None:
    """Write a log to a file, for `load`."""
    with open(path, "wb") as file:
        for kind, offset, length, data in records:
            file.write(_ENTRY.pack(_CODES[kind], offset, length) + data)


def _ended_within(pid: int, seconds: float) -> bool:
    """Wait for a child for a limited time."""
    fd = os.pidfd_open(pid)
    try:
        if not select.select([fd], [], [], seconds)[0]:
            return False
        os.waitpid(pid, 0)
        return True
    finally:
        os.close(fd)


def _serve_forever(mount_point: str, content: str, log: str, size: int, tell: int) -> None:
    """Be the server process; never returns."""
    status = 1
    try:
        die_with_parent()
        # Ignore Ctrl-C, which reaches this process too: the filesystem above still needs it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        server = _Server(mount_point, content, log, size)
        os.write(tell, b"1")
        os.close(tell)
        server.run()
        status = 0
    except BaseException as error:
        sys.stderr.write(f"recording device: {error!r}\n")
    finally:
        os._exit(status)


# ------------------------------------------------------------------- the FUSE protocol, 7.x

_IN_HEADER = struct.Struct("<IIQQIIIHH")
_OUT_HEADER = struct.Struct("<IiQ")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE = 1, 2, 3, 4, 14, 15, 16
_STATFS, _RELEASE, _FSYNC, _FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR = (
    *(17, 18, 20, 25, 26, 27),
    *(28, 29),
)
_ACCESS, _INTERRUPT, _DESTROY, _BATCH_FORGET, _FALLOCATE = 34, 36, 38, 42, 43
_ROOT, _DISK, _CONTROL = 1, 2, 3
_MAX_WRITE = 1 << 20
_FOREVER_S = 3600
# FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_ASYNC_DIO, FUSE_MAX_PAGES. Not FUSE_WRITEBACK_CACHE: a
# write has to reach us before it is reported to the filesystem as done.
_WANTED = 1 << 0 | 1 << 5 | 1 << 15 | 1 << 22
_FOPEN_DIRECT_IO = 1
_FALLOC_PUNCH_HOLE, _FALLOC_ZERO_RANGE = 0x02, 0x10


class _Server:
    """The loop that reads requests from ``/dev/fuse`` and answers them."""

    def __init__(self, mount_point: str, content: str, log: str, size: int) -> None:
        self._size = size
        self._content = os.open(content, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.ftruncate(self._content, size)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._faults: dict[str, tuple[int, int]] = {}  # operation: first and end, counted down
        self._seen = {"write": 0, "flush": 0}
        options = f"fd={self._fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
        mount("crashlab", mount_point, "fuse.crashlab", options=options)

    def run(self) -> None:
        """Serve until the filesystem is unmounted."""
        buffer = bytearray(_MAX_WRITE + 65536)
        view = memoryview(buffer)
        while True:
            try:
                length = os.readv(self._fuse, [buffer])
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue  # the request was interrupted before we read it
                if error.errno == errno.ENODEV:
                    return  # unmounted
                raise
            _, code, unique, node, *_ = _IN_HEADER.unpack_from(view)
            if code == _DESTROY:
                self._reply(unique)
                return
            if code in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue  # these want no answer
            try:
                answer = self._answer(code, node, view[_IN_HEADER.size : length])
            except OSError as error:
                self._reply(unique, error=error.errno or errno.EIO)
            else:
                self._reply(unique, answer)

    def _answer(self, code: int, node: int, body: memoryview) -> bytes:
        """Carry one request out; an OSError becomes the error reply."""
        if code == _WRITE:
            _, offset, length, _ = struct.unpack_from("<QQII", body)
            data = body[40 : 40 + length]
            if node == _CONTROL:
                self._command(bytes(data))
            else:
                self._store(offset, data)
            return struct.pack("<II", length, 0)
        if code == _FSYNC:
            # After ENOSYS the kernel would assume that flushes are never needed, and send no more:
            # every image would then look perfectly ordered.
            if node == _DISK:
                self._maybe_fail("flush")
                self._put(b"F")
            return b""
        if code == _READ:
            _, offset, length = struct.unpack_from("<QQI", body)
            return os.pread(self._content, length, offset) if node == _DISK else b""
        if code == _FALLOCATE:
            return self._fallocate(body)
        if code == _LOOKUP:
            child = {b"disk": _DISK, b"control": _CONTROL}.get(bytes(body).rstrip(b"\0"))
            if child is None:
                raise OSError(errno.ENOENT, "no such name")
            times = struct.pack("<QQQQII", child, 0, _FOREVER_S, _FOREVER_S, 0, 0)
            return times + self._attributes(child)
        if code in (_GETATTR, _SETATTR):
            return struct.pack("<QII", _FOREVER_S, 0, 0) + self._attributes(node)
        if code in (_OPEN, _OPENDIR):
            return struct.pack("<QIi", 0, _FOPEN_DIRECT_IO if node == _CONTROL else 0, 0)
        if code == _INIT:
            _, minor, readahead, flags = struct.unpack_from("<IIII", body)
            head = (7, min(minor, 36), readahead, flags & _WANTED, 64, 48, _MAX_WRITE)
            return struct.pack("<IIIIHHIIHHI7I", *head, 1, 256, 0, 0, *[0] * 7)
        if code == _STATFS:
            return struct.pack("<QQQQQIII7I", *(1 << 20,) * 3, 10, 10, 4096, 255, 4096, *[0] * 7)
        if code in (_RELEASE, _RELEASEDIR, _FLUSH, _ACCESS, _READDIR):
            return b""
        raise OSError(errno.ENOSYS, f"FUSE operation {code}")

    def _store(self, offset: int, data: memoryview) -> None:
        self._maybe_fail("write")
        os.pwrite(self._content, data, offset)
        self._put(b"W", offset, len(data), data)

    def _fallocate(self, body: memoryview) -> bytes:
        """Discard and write-zeroes requests arrive like this."""
        _, offset, length, mode = struct.unpack_from("<QQQI", body)
        if not mode & (_FALLOC_PUNCH_HOLE | _FALLOC_ZERO_RANGE):
            raise OSError(errno.EOPNOTSUPP, "plain fallocate")
        self._maybe_fail("write")
        for start in range(offset, offset + length, _MAX_WRITE):
            os.pwrite(self._content, bytes(min(_MAX_WRITE, offset + length - start)), start)
        self._put(b"Z", offset, length)
        return b""

    def _command(self, text: bytes) -> None:
        word, _, rest = text.partition(b" ")
        if word == b"mark":
            self._put(b"M", 0, len(rest), rest)
        elif word == b"heal":
            self._faults.clear()
        elif word == b"fail":
            operation, first, end = rest.decode().split()
            base = self._seen[operation]
            self._faults[operation] = (base + int(first), -1 if end == "-1" else base + int(end))

    def _maybe_fail(self, operation: str) -> None:
        self._seen[operation] += 1
        first, end = self._faults.get(operation, (0, 0))
        if first and first <= self._seen[operation] and (end < 0 or self._seen[operation] < end):
            raise OSError(errno.EIO, f"this {operation} was to fail")

    def _put(
        self, code: bytes, offset: int = 0, length: int = 0, data: bytes | memoryview = b""
    ) -> None:
        os.writev(self._log, [_ENTRY.pack(code, offset, length), data])

    def _attributes(self, node: int) -> bytes:
        size, mode, links = {
            _ROOT: (0, 0o40755, 2),
            _DISK: (self._size, 0o100600, 1),
            _CONTROL: (0, 0o100600, 1),
        }[node]
        blocks = size // 512
        return _ATTR.pack(node, size, blocks, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)

    def _reply(self, unique: int, data: bytes = b"", *, error: int = 0) -> None:
        try:
            os.write(
                self._fuse, _OUT_HEADER.pack(_OUT_HEADER.size + len(data), -error, unique) + data
            )
        except OSError as failure:
            if failure.errno != errno.ENOENT:  # ENOENT: the request was interrupted meanwhile
                raise
