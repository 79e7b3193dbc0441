"""A small filesystem in user space: the kernel's FUSE protocol over ``/dev/fuse``, nothing else.

It keeps directories and regular files in memory, and supports the library's own operations. It
stands for all filesystems whose promises depend on a server that the kernel cannot examine.
The wire format is that of <linux/fuse.h>, protocol 7.31.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import time
import traceback
from collections.abc import Callable

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")
_ROOT = 1
_FOREVER = 3600  # seconds that the kernel may remember names and attributes: only it changes them

LOOKUP, FORGET, GETATTR, SETATTR, UNLINK, RENAME, LINK, OPEN, READ, WRITE, STATFS, RELEASE = (
    1, 2, 3, 4, 10, 12, 13, 14, 15, 16, 17, 18,
)  # fmt: skip
FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, CREATE, INTERRUPT, DESTROY = (
    20, 25, 26, 27, 28, 29, 30, 35, 36, 38,
)  # fmt: skip
BATCH_FORGET, RENAME2 = 42, 45
MKDIR, RMDIR = 9, 11


class Node:
    """A regular file, or a directory, whose names the server keeps."""

    def __init__(self, mode: int, uid: int, gid: int) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.data = bytearray()
        self.links = 1
        self.mtime = time.time()


class Server:
    """Answer the kernel's requests until the filesystem is unmounted."""

    def __init__(self, fd: int, *, ignores_case: bool = False) -> None:
        self._fd = fd
        self._ignores_case = ignores_case
        # The kernel must not remember that one spelling of a removed name was there.
        self._remembered = 0 if ignores_case else _FOREVER  # seconds
        self._nodes: dict[int, Node] = {}
        self._names: dict[tuple[int, bytes], int] = {}  # by directory and name, see `_key`
        self._spellings: dict[tuple[int, bytes], bytes] = {}  # the name as it was given
        self._next = _ROOT + 1
        self._handlers: dict[int, Callable[..., bytes]] = {
            INIT: self._init,
            LOOKUP: self._lookup,
            GETATTR: self._getattr,
            SETATTR: self._setattr,
            CREATE: self._create,
            OPEN: self._open,
            OPENDIR: self._open,
            READ: self._read,
            WRITE: self._write,
            READDIR: self._readdir,
            UNLINK: self._unlink,
            MKDIR: self._mkdir,
            RMDIR: self._rmdir,
            RENAME: self._rename,
            RENAME2: self._rename2,
            LINK: self._link,
            STATFS: self._statfs,
            FSYNC: self._nothing,
            FSYNCDIR: self._nothing,
            FLUSH: self._nothing,
            RELEASE: self._nothing,
            RELEASEDIR: self._nothing,
            DESTROY: self._nothing,
        }

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._fd, (1 << 20) + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                if error.errno == errno.ENODEV:
                    return  # unmounted
                raise
            _, opcode, unique, node, uid, gid, *_ = _IN.unpack_from(request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue  # these want no answer
            handler = self._handlers.get(opcode)
            try:
                if handler is None:
                    raise OSError(errno.ENOSYS, "not implemented")
                self._answer(unique, 0, handler(node, request[40:], uid, gid))
            except OSError as error:
                self._answer(unique, -(error.errno or errno.EIO), b"")

    def _answer(self, unique: int, code: int, body: bytes) -> None:
        try:
            os.write(self._fd, _OUT.pack(16 + len(body), code, unique) + body)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise  # ENOENT: the request was interrupted meanwhile

    def _init(self, _node: int, body: bytes, *_who: int) -> bytes:
        readahead = struct.unpack_from("<4I", body)[2]
        return struct.pack("<4I4H2I", 7, 31, readahead, 0, 16, 12, 0, 0, 1 << 20, 1) + bytes(32)

    def _attr(self, node: int) -> bytes:
        if node == _ROOT:
            return _ATTR.pack(_ROOT, *[0] * 8, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0)
        file = self._nodes[node]
        size, seconds = len(file.data), int(file.mtime)
        nanos = int((file.mtime - seconds) * 1e9)
        times = (seconds, seconds, seconds, nanos, nanos, nanos)
        owner = (file.links, file.uid, file.gid)
        return _ATTR.pack(node, size, size // 512 + 1, *times, file.mode, *owner, 0, 4096, 0)

    def _entry(self, node: int) -> bytes:
        return _ENTRY.pack(node, 0, self._remembered, _FOREVER, 0, 0) + self._attr(node)

    def _lookup(self, node: int, body: bytes, *_who: int) -> bytes:
        return self._entry(self._find(node, body.rstrip(b"\0")))

    def _getattr(self, node: int, _body: bytes, *_who: int) -> bytes:
        return struct.pack("<QII", _FOREVER, 0, 0) + self._attr(node)

    def _setattr(self, node: int, body: bytes, *_who: int) -> bytes:
        valid, size = struct.unpack_from("<I12xQ", body)
        mode, uid, gid = struct.unpack_from("<I4xII", body, 68)
        file = self._nodes[node]
        if valid & 1:
            file.mode = stat.S_IFMT(file.mode) | stat.S_IMODE(mode)
        if valid & 2:
            file.uid = uid
        if valid & 4:
            file.gid = gid
        if valid & 8:
            del file.data[size:]
            file.data.extend(bytes(size - len(file.data)))
        file.mtime = time.time()
        return struct.pack("<QII", _FOREVER, 0, 0) + self._attr(node)

    def _create(self, directory: int, body: bytes, uid: int, gid: int) -> bytes:
        mode, umask = struct.unpack_from("<4xII", body)
        made = Node(stat.S_IFREG | stat.S_IMODE(mode) & ~umask, uid, gid)
        return self._add(directory, body[16:], made) + struct.pack("<QII", 0, 0, 0)

    def _mkdir(self, directory: int, body: bytes, uid: int, gid: int) -> bytes:
        mode, umask = struct.unpack_from("<II", body)
        made = Node(stat.S_IFDIR | stat.S_IMODE(mode) & ~umask, uid, gid)
        made.links = 2
        return self._add(directory, body[8:], made)

    def _add(self, directory: int, name: bytes, made: Node) -> bytes:
        node, self._next = self._next, self._next + 1
        self._nodes[node] = made
        self._enter(directory, name.rstrip(b"\0"), node)
        return self._entry(node)

    def _open(self, _node: int, _body: bytes, *_who: int) -> bytes:
        return struct.pack("<QII", 0, 0, 0)

    def _read(self, node: int, body: bytes, *_who: int) -> bytes:
        offset, size = struct.unpack_from("<8xQI", body)
        return bytes(self._nodes[node].data[offset : offset + size])

    def _write(self, node: int, body: bytes, *_who: int) -> bytes:
        offset, size = struct.unpack_from("<8xQI", body)
        file = self._nodes[node]
        if offset > len(file.data):
            file.data.extend(bytes(offset - len(file.data)))
        file.data[offset : offset + size] = body[40 : 40 + size]
        file.mtime = time.time()
        return struct.pack("<II", size, 0)

    def _readdir(self, directory: int, body: bytes, *_who: int) -> bytes:
        offset, size = struct.unpack_from("<8xQI", body)
        entries = [(b".", _ROOT, 4), (b"..", _ROOT, 4)]
        entries += [
            (self._spellings[key], node, stat.S_IFMT(self._nodes[node].mode) >> 12)
            for key, node in self._names.items()
            if key[0] == directory
        ]
        out = b""
        for index, (name, node, kind) in enumerate(entries[offset:], offset + 1):
            entry = struct.pack("<QQII", node, index, len(name), kind) + name
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return out

    def _unlink(self, directory: int, body: bytes, *_who: int) -> bytes:
        name = body.rstrip(b"\0")
        self._nodes[self._find(directory, name)].links -= 1
        del self._names[self._key(directory, name)]
        return b""

    def _rmdir(self, directory: int, body: bytes, *_who: int) -> bytes:
        node = self._find(directory, body.rstrip(b"\0"))
        if any(parent == node for parent, _ in self._names):
            raise OSError(errno.ENOTEMPTY, "not empty")
        return self._unlink(directory, body)

    def _rename(self, directory: int, body: bytes, *_who: int) -> bytes:
        target = struct.unpack_from("<Q", body)[0]
        return self._move(directory, target, body[8:], noreplace=False)

    def _rename2(self, directory: int, body: bytes, *_who: int) -> bytes:
        target, flags = struct.unpack_from("<QI", body)
        if flags & ~1:
            raise OSError(errno.EINVAL, "only RENAME_NOREPLACE")
        return self._move(directory, target, body[16:], noreplace=bool(flags))

    def _move(self, source: int, target: int, names: bytes, *, noreplace: bool) -> bytes:
        old, new, _ = names.split(b"\0")
        node = self._find(source, old)
        if self._key(target, new) in self._names:
            if noreplace:
                raise OSError(errno.EEXIST, "exists")
            self._nodes[self._names[self._key(target, new)]].links -= 1
        del self._names[self._key(source, old)]
        self._enter(target, new, node)
        return b""

    def _link(self, directory: int, body: bytes, *_who: int) -> bytes:
        node = struct.unpack_from("<Q", body)[0]
        name = body[8:].rstrip(b"\0")
        if self._key(directory, name) in self._names:
            raise OSError(errno.EEXIST, "exists")
        self._enter(directory, name, node)
        self._nodes[node].links += 1
        return self._entry(node)

    def _statfs(self, _node: int, _body: bytes, *_who: int) -> bytes:
        return struct.pack(
            "<5Q4I24x", 1 << 16, 1 << 15, 1 << 15, 1 << 16, 1 << 15, 4096, 255, 4096, 0
        )

    def _nothing(self, _node: int, _body: bytes, *_who: int) -> bytes:
        return b""

    def _key(self, directory: int, name: bytes) -> tuple[int, bytes]:
        """Return what tells a name of a directory from the others."""
        return directory, name.lower() if self._ignores_case else name

    def _enter(self, directory: int, name: bytes, node: int) -> None:
        """Give a node a name; one that is there already keeps its spelling."""
        key = self._key(directory, name)
        if key not in self._names:
            self._spellings[key] = name
        self._names[key] = node

    def _find(self, directory: int, name: bytes) -> int:
        try:
            return self._names[self._key(directory, name)]
        except KeyError:
            raise OSError(errno.ENOENT, "no such file") from None


def start(*, ignores_case: bool = False) -> tuple[int, int]:
    """Start a server in a process of its own, to be called before the mount namespace is left.

    The server stays outside that namespace, so that the end of the namespace unmounts the
    filesystem and thereby ends the server, whatever else happens.

    Returns:
        The descriptor to mount with and one that holds the server back. Close both after mounting:
        the server cannot read before, and a dead server would be waited for for ever.
    """
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    waiting, starting = os.pipe()
    if os.fork() == 0:
        try:
            die_with_parent()
            os.close(starting)
            os.read(waiting, 1)
            Server(device, ignores_case=ignores_case).serve()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)  # this closes the device: who still waits for an answer gets ENOTCONN
    os.close(waiting)
    return device, starting


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
