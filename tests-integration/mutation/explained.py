"""Mutants that no test can notice, or need not, each with the reason.

A mutant is named by its module, the line it is in, and what is replaced with what. A reason says
why the promise is kept all the same: what changes is only time, a message, or a case that another
line takes care of.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from .trial import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .points import Point

_BOUND = "a bound or a size that was chosen, and is promised nowhere: one more is as good"
_TELLS_THE_END = "one byte more than there can be shows that there are no more; so do two"
_NOT_YET = "stands there before anything is looked at or opened, when nobody asks; it is of no file"
_SIZES = "a machine has 32 or 64 bits, and the mutants run on one of 64"
_NOBODY = "nobody has that descriptor either"
_NEVER_ASKED = "of a recording, which publishes nothing: nobody asks"
_SET_BY_LOOK = "set before a verdict is remembered; nobody asks one that is not"
_NEWER = "for a later Python than the one that runs the mutants"

_LONG = "_LONG = 8 if sys.maxsize > 2**32 else 4  # bytes in a C long on Linux"

# Constants of modules. Only the number itself: what is multiplied or raised is another matter.
_CHOSEN: dict[str, str] = {
    "_change.py": "_ATTEMPTS",
    "_checksum_record.py": "CAP _MOST_PREVIOUS",
    "_cli/checksums.py": "_LOOKS _TRIES _UNLOCKED_LOOKS",
    "_cli/commands.py": "_CHUNK",
    "_cli/progress.py": "LONG _STEP",
    "_cli/running.py": "_CHUNK",
    "_descriptor.py": "_LEASED_LOOKS",
    "_digests.py": "_CHUNK",
    "_doctor/layout.py": "WIDTH",
    "_doctor/storage.py": "_TIGHT",
    "_in_place.py": "_CHUNK",
    "_lock.py": "_ROUNDS",
    "_lock_file.py": "_PROBE_ROUNDS",
    "_lock_payload.py": "CAP _DEEPEST",
    "_mounts.py": "_CHUNK _LONG_TABLE",
    "_protocol.py": "_HASH_ASIDE _WRITTEN_BACK_EARLY",
    "_reader.py": "_BUFFER",
    "_reading.py": "_CHUNK _TRIES",
    "_retirement.py": "ROUNDS",
    "_sidecar_file.py": "_CHUNK _LONGEST_LIST",
    "_stack.py": "_DEEPEST",
    "_target.py": "RESOLUTIONS",
    "_temp_file.py": "NAMES",
    "_verdicts.py": "_ATTEMPTS _MOST_BY_STATFS _MOST_IDLE",
    "_verification.py": "_REFUSED_LOOKS",
    "_writer.py": "_BUFFER",
}
_FIRST_NUMBER = re.compile(r"(\w+) = (\d+)\b")

_REASONS: dict[tuple[str, str, str], str] = {
    ("_advice.py", "code = error.errno or 0", "0 -> 1"): (
        "an error without a number has no text either, with which that of the number is compared"
    ),
    ("_lock.py", "self.inode = (0, 0)", "0 -> 1"): _NOT_YET,
    ("_lock_file.py", "self.inode = (0, 0)", "0 -> 1"): _NOT_YET,
    ("_lock_file.py", "self.owner = -1", "-1 -> 0"): _NOT_YET,
    ("_held_locks.py", "inode = (0, 0)", "0 -> 1"): _NOT_YET,
    ("_reading.py", "self.inode = (0, 0)", "0 -> 1"): _NOT_YET,
    (
        "_waiting.py",
        "pause = max(0.0, min(left, nap * (0.5 + os.urandom(1)[0] / 255)))",
        "255 -> 256",
    ): "the range of a random number",
    (
        "_cli/options.py",
        "parsed.retries = _MOST if attempts >= _MOST else math.ceil(attempts)",
        ">= -> >",
    ): "no number of such a size is equal to it",
    (
        "_options.py",
        'return "a number of that size" if number > 0 else "a negative number"',
        "> -> >=",
    ): "0 is printed before it comes to that",
    (
        "_mounts.py",
        "at = self.cookie if self.cookie < 0 else os.lseek(self.fd, 0, os.SEEK_CUR)",
        "< -> <=",
    ): "the cookie is never 0",
    (
        "_rename.py",
        'call("", "", -1, -1)',
        "-1 -> 0",
    ): "an empty name is refused before a descriptor is looked at",
    ("_replacement.py", "return self._not_done()", "return self._not_done() -> return None"): (
        "no is as good as nothing"
    ),
    (
        "_environment.py",
        'fields = (line.split(b" ", 5) for line in table.splitlines())',
        "5 -> 6",
    ): "what is split off more is not looked at",
    (
        "_environment.py",
        '_mounts.unescaped(field[4].rpartition(b"/")[2]) for field in fields if len(field) > 5',
        "> -> >=",
    ): "every line of a table has more",
    ("_waiting.py", "nap, losses = _NAP, 0", "0 -> 1"): "how soon it is looked at again",
    ("_forks.py", "late = time.monotonic() > deadline", "> -> >="): _BOUND,
    (
        "_doctor/limits.py",
        '"pwrite": lambda: kernel.pwrite(_NO_FILE, b"", 0),',
        "0 -> 1",
    ): "there is no file to write into",
    (
        "_doctor/limits.py",
        '"fchmod": lambda: kernel.fchmod(_NO_FILE, 0o600),',
        "0o600 -> 385",
    ): "there is no file whose mode it could be",
    (
        "_doctor/limits.py",
        "code = errno.errorcode.get(error.errno or 0, str(error.errno))",
        "0 -> 1",
    ): "an error of the system has a number",
    (
        "_hashes.py",
        "return hashlib.sha256(usedforsecurity=False)",
        "False -> True",
    ): "only a system in FIPS mode tells the difference",
    (
        "_hashes.py",
        "return hashlib.new(algo, usedforsecurity=False)",
        "False -> True",
    ): "only a system in FIPS mode tells the difference",
    ("_forks.py", "time.sleep(_PAUSE)", "time.sleep(_PAUSE) -> pass"): "it is looked at more often",
    ("_forks.py", "if time.monotonic() > deadline:", "> -> >="): _BOUND,
    ("_forks.py", "_UNKNOWN = (-1, -1)", "-1 -> 0"): "no file has such a pair of numbers either",
    ("_lock_payload.py", "if not isinstance(text, str) or len(text) > 40:", "> -> >="): _BOUND,
    ("_lock_payload.py", "if not isinstance(text, str) or len(text) > 40:", "40 -> 41"): _BOUND,
    ("_log.py", "warnings.warn(message, category, stacklevel=2)", "2 -> 3"): (
        "where nobody's line can be named, one of them is as good"
    ),
    ("_held_locks.py", "return path", "return path -> return None"): (
        "a path that is not absolute is no lock's either"
    ),
    (
        "_lock_readers.py",
        "others = _may(acl.get((OTHER, NOBODY), 0))",
        "0 -> 1",
    ): "who may search only reads nothing either",
    (
        "_lock_readers.py",
        "(GROUP_OBJ, NOBODY): 0,",
        "0 -> 1",
    ): "it is replaced by what the ACL says of the group, as every one does (acl(5))",
    (
        "_options.py",
        'kind = getattr(code, "co_flags", 0)',
        "0 -> 1",
    ): "a bit that nobody looks at",
    (
        "_options.py",
        'return "a number of that size" if number > 0 else "a negative number"',
        "0 -> 1",
    ): "0 and 1 are printed before it comes to that",
    (
        "_reader.py",
        "def peek(self, size: int = 0, /) -> bytes:",
        "0 -> 1",
    ): "the stream returns what it holds, whatever is asked for (io.BufferedReader.peek)",
    ("_reading.py", "self._closed = True", "True -> False"): (
        "closing once more closes nothing: it only takes time"
    ),
    ("_reading.py", "self._size = 0", "0 -> 1"): _NOT_YET,
    ("_reading.py", "self.fd = -1", "-1 -> 0"): "nobody asks for it while nothing is open",
    (
        "_reading.py",
        "if self._size >= _LONGEST_READ:  # more than one call returns, and too much to hold twice",
        ">= -> >",
    ): "one call returns as much",
    (
        "_reading.py",
        "_LONGEST_READ = 0x7FFFF000  # bytes that one read(2) returns at most (read(2))",
        "0x7FFFF000 -> 2147479553",
    ): "one call returns as much",
    (
        "_writer.py",
        "size = len(data) if type(data) is bytes else _BUFFER + 1",
        "1 -> 2",
    ): "more than there is room for, either way",
    ("_waiting.py", "losses += 1", "1 -> 2"): "how soon it is looked at again",
    (
        "_waiting.py",
        "pause = max(0.0, min(left, nap * (0.5 + os.urandom(1)[0] / 255)))",
        "1 -> 2",
    ): "more random bytes",
    (
        "_waiting.py",
        "nap = min(nap * 2, _LONGEST_NAP)",
        "2 -> 3",
    ): "how soon it is looked at again",
    ("_cli/progress.py", "long = total is None or total >= LONG", ">= -> >"): _BOUND,
    (
        "_doctor/block_device.py",
        "def __init__(self, directory: str, depth: int = 8) -> None:",
        "8 -> 9",
    ): _BOUND,
    ("_environment.py", _LONG, "8 -> 9"): "what is more than four bytes is cut off again",
    ("_environment.py", _LONG, "sys.maxsize > 2**32 -> (not (sys.maxsize > 2**32))"): (
        "on a little-endian machine the number stands in the first four bytes"
    ),
    ("_environment.py", _LONG, "2 -> 3"): _SIZES,
    ("_environment.py", _LONG, "> -> >="): _SIZES,
    ("_environment.py", _LONG, "32 -> 33"): _SIZES,
    ("_environment.py", _LONG, "4 -> 5"): _SIZES,
    (
        "_retirement.py",
        "self._outdated = False  # whether it is one that must not come back",
        "False -> True",
    ): "it is found out before anything is announced",
    ("_cli/commands.py", "_CHUNK = 1 << 20  # bytes copied at a time", "20 -> 21"): _BOUND,
    (
        "_cli/progress.py",
        "LONG = 64 << 20  # bytes from which a bar is drawn",
        "20 -> 21",
    ): _BOUND,
    (
        "_cli/signals.py",
        "super().__init__(number)",
        "super().__init__(number) -> super()",
    ): "the arguments are those that __new__ has set (BaseException)",
    (
        "_doctor/limits.py",
        "_NO_FILE = 0x3FFFFFFF  # a descriptor that nobody has",
        "0x3FFFFFFF -> 1073741824",
    ): _NOBODY,
    ("_mounts.py", "_NO_SUCH_FD = 2**31 - 1", "1 -> 2"): _NOBODY,
    ("_descriptor.py", "any(map(kernel.close, map(held.pop, (-1,))))", "-1 -> 0"): (
        "they are closed in another order"
    ),
    ("_change.py", "return -1", "-1 -> 0"): _NEVER_ASKED,
    (
        "_change.py",
        "if self.publishing and not self.published and fd >= 0:",
        ">= -> >",
    ): "no descriptor of ours has a number of the standard streams",
    (
        "_descriptor.py",
        "held[:0] = map(kernel.dupfd, held[:1], (F_DUPFD_CLOEXEC,), (STANDARD,))",
        "1 -> 2",
    ): "the shortest of the three ends it",
    ("_protocol.py", "announcement.discard()", "announcement.discard() -> pass"): (
        "what it has open is closed when it is dropped, which is at once with CPython"
    ),
    (
        "_target.py",
        "attempts -= 1",
        "1 -> 2",
    ): "half as many attempts; how many is promised nowhere",
    ("_verdicts.py", "self.shared = False", "False -> True"): _SET_BY_LOOK,
    ("_verdicts.py", "self.holds_for_files = False", "False -> True"): _SET_BY_LOOK,
    ("_change.py", "return -1", "return -1 -> return None"): _NEVER_ASKED,
    (
        "_cli/options.py",
        "self.color = False  # Python 3.14's colours would get into the manual page and docs",
        "False -> True",
    ): _NEWER,
    (
        "_mounts.py",
        "at = self.cookie if self.cookie < 0 else os.lseek(self.fd, 0, os.SEEK_CUR)",
        "0 -> 1",
    ): "the cookie is never 0",
    (
        "_mounts.py",
        "self.cookie = 1 + (id(self) >> 4) % 1022  # no multiple of a buffer",
        "1 -> 2",
    ): "the range of a number that differs",
    (
        "_mounts.py",
        "self.cookie = 1 + (id(self) >> 4) % 1022  # no multiple of a buffer",
        "1022 -> 1023",
    ): "the range of a number that differs",
    (
        "_mounts.py",
        "self.cookie = 1 + (id(self) >> 4) % 1022  # no multiple of a buffer",
        "4 -> 5",
    ): "another number that differs",
    (
        "_mounts.py",
        'if found and offset >= _LONG_TABLE and chunk.endswith(b"\\n"):',
        ">= -> >",
    ): _BOUND,
    ("_mounts.py", "buffer_type = ctypes.c_char * 4096", "4096 -> 4097"): _BOUND,
    (
        "_reading.py",
        "data = kernel.read(self.fd, self._size + 1 if self._size else _CHUNK)",
        "1 -> 2",
    ): _TELLS_THE_END,
    (
        "_replacement.py",
        "raw: bytes = kernel.pread(self.record.fd, len(self.content) + 1, 0)",
        "1 -> 2",
    ): _TELLS_THE_END,
    ("_checksum_record.py", "raw = kernel.pread(fd, CAP + 1, 0)", "1 -> 2"): _TELLS_THE_END,
    ("_doctor/probes.py", "held = kernel.read(fd, len(_OLD) + 1)", "1 -> 2"): _TELLS_THE_END,
    (
        "_cli/process.py",
        "time.sleep(_PAUSE)",
        "time.sleep(_PAUSE) -> pass",
    ): "the command is looked at more often",
}


def reason(point: Point) -> str:
    """Return why a point may survive; empty if nobody has said so."""
    if _number(point) in _CHOSEN.get(point.module, "").split():
        return _BOUND if point.change == f"{point.old} -> {int(point.old) + 1}" else ""
    return _REASONS.get((point.module, _line(point), point.change), "")


def stale(present: Iterable[Point]) -> list[str]:
    """Return the explanations and the chosen numbers that fit none of the mutants there are."""
    fitting: set[tuple[str, ...]] = set()
    for point in present:
        fitting |= {(point.module, _line(point), point.change), (point.module, _number(point))}
    chosen = {(module, name) for module, names in _CHOSEN.items() for name in names.split()}
    return sorted(": ".join(left) for left in {*_REASONS, *chosen} - fitting)


def _number(point: Point) -> str:
    """Return the name of a module's constant whose first number the point changes, or nothing."""
    found = _FIRST_NUMBER.match(_line(point))
    return found[1] if found is not None and found[2] == point.old else ""


def _line(point: Point) -> str:
    return _lines(point.module)[point.line - 1].strip()


@functools.cache
def _lines(module: str) -> list[str]:
    return (PACKAGE / module).read_text(encoding="utf-8").splitlines()
