"""The places where the library continues after an error, and why that is right.

`test_errors` checks that an injected error either surfaces or comes from one of these places, and
that every place in the list is used: code that swallows an error must be entered here.
"""

from __future__ import annotations

import errno as e
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A seam entry and its callers.

    Attributes:
        entry: The entry of the seam.
        callers: A regular expression for the library's functions that call it, innermost first.
        codes: The errors that may be tolerated there; None for all that the entry can return.
        why: Why it is right to continue.
        log: The level of the message that must be logged, None if there is none.
        metadata: Whether the new file may then lack metadata of the old one.
        sidecar: Whether a sidecar may then be where it was, or missing.
    """

    entry: str
    callers: str
    codes: frozenset[int] | None
    why: str
    log: str | None = None
    metadata: bool = False
    sidecar: bool = False

    def matches(self, site: tuple[str, str], code: int) -> bool:
        """Tell whether an error belongs to this place."""
        return (
            site[0] == self.entry
            and re.match(self.callers, site[1]) is not None
            and (self.codes is None or code in self.codes)
        )


def _only(*codes: int) -> frozenset[int]:
    return frozenset(codes)


_UNSUPPORTED = _only(e.ENOSYS, e.EINVAL, e.EOPNOTSUPP, e.EISDIR, e.ENOENT)
_NO_FLOCK = _UNSUPPORTED | {e.ENOLCK}

_LOOKERS = r"(Found\._open < )?Found\.look < _examine\.<locals>\.looked"

PLACES = (
    Place(
        "close",
        "close_quietly|close_all",
        None,
        "it was only read, or is flushed already",
        "DEBUG",
    ),
    Place("posix_fadvise", "start_writeback", None, "the flush waits longer, that is all", "DEBUG"),
    Place(
        "open_anonymous",
        "Held.open < Lock._prepare",
        _UNSUPPORTED | _only(e.EPERM, e.EACCES),
        "no O_TMPFILE here: the lock is made under a temp's name",
    ),
    Place(
        "rename_noreplace",
        "rename_new",
        _UNSUPPORTED | _only(e.EPERM, e.EACCES),
        "no such rename here: link and unlink refuse to replace as well",
    ),
    Place(
        "link",
        "rename_new < rename_to_free",
        _only(e.EXDEV, e.EACCES, e.EPERM),
        "a free name is asked for, where nothing holds that it stays free",
    ),
    Place(
        "rename_noreplace",
        "rename_new < rename_to_free",
        _only(e.EACCES, e.EXDEV),
        "renamed without the flag, which what is really forbidden refuses as well",
    ),
    Place(
        "rename_exchange",
        "Replacement.(install|_give_back)",
        _UNSUPPORTED | _only(e.EPERM, e.EACCES, e.ENOENT),
        "no such rename here: the sidecar is kept under a second name, then renamed over",
    ),
    Place("flock", "Sidecar.hold", _NO_FLOCK, "no flock, hence no sweeper either"),
    Place(
        "open",
        "Descriptor.open < Sidecar.__init__",
        _only(e.ENOENT, e.ENAMETOOLONG, e.EACCES, e.EPERM),
        "what has no room for its name, or nobody finds, is not there; a sidecar that is there and "
        "may not be read is left by whoever records nothing",
        sidecar=True,
    ),
    Place(
        "open",
        "Descriptor.open < Target._open_parent",
        _only(e.EACCES, e.EPERM),
        "to look a name up, search permission is enough",
    ),
    Place(
        "stat",
        "Opened._open_by_path",
        _only(e.ELOOP, e.ENAMETOOLONG, e.ENOTDIR),
        "the file is looked up in its directory, which settles it",
    ),
    Place(
        "open",
        "Descriptor.open < Opened._open_by_path",
        _only(e.ENAMETOOLONG, e.ENOTDIR),
        "the file is looked up in its directory, which settles it",
    ),
    Place(
        "stat",
        "Sidecar.is_at < Replacement._expendable < Replacement._drop_aside",
        None,
        "tried once more",
    ),
    Place(
        "pread",
        "Sidecar.is_at < Replacement._expendable < Replacement._drop_aside",
        None,
        "tried once more",
    ),
    Place(
        "getxattr",
        "acl_of",
        _only(e.ENODATA, e.EOPNOTSUPP),
        "a file without an ACL",
    ),
    Place(
        "getxattr_at",
        "readers_at",
        _only(e.ENODATA, e.EOPNOTSUPP, e.EACCES, e.EPERM, e.ENOENT),
        "a file without an ACL, or nobody can tell: the record has fewer readers until Seal",
    ),
    Place(
        "fchown",
        r"(_give_group < )?admit",
        _only(e.EPERM, e.EINVAL),
        "not ours to give: fewer people may read the record",
        "DEBUG",
    ),
    Place("flock", "Temp._claim", _NO_FLOCK, "no flock, hence no sweeper either"),
    Place(
        "flock",
        r"probe_free < Found\._conclude < Found\._open < Found\.look",
        None,
        "an inspection says alive='unknown'",
    ),
    Place("flock", r"(probe_free < )?flock_stale < _join_takeover < force", None, "it asks nobody"),
    Place(
        "open",
        f"Held.open < {_LOOKERS}",
        None,
        "alive='unknown', hence not stale",
    ),
    Place(
        "open",
        r"Held.open < Found\._open < Found\.look < Lock.attempt",
        _only(e.EACCES, e.EPERM),
        "somebody else's lock, of which nothing is known: it counts as held",
    ),
    Place(
        "open",
        r"Descriptor.open < Target._open_parent < Target.open < release_lock\.",
        None,
        "a kept lock has its directory open, and is released by the path it was taken under",
    ),
    Place(
        "stat",
        r"Target.look_again < Target.open < release_lock\.",
        None,
        "a kept lock has its directory open, and is released by the path it was taken under",
    ),
    Place("flock", r"(.* < )?_join_takeover < release_stale", None, "nothing is proven"),
    Place("stat", r"Target\._leads_here", None, "the next step will tell"),
    Place("stat", "still_named < Lock.owned < Lock._unlink_if_ours", None, "tried once more"),
    Place(
        "link_anonymous",
        "Lock._link_inode",
        _only(e.EACCES, e.ENOENT, e.EPERM, e.EXDEV, e.ELOOP, *_UNSUPPORTED),
        "no link from /proc here: the lock is made under a temp's name",
    ),
    Place("fstat", "shows", None, "not known to be closed: it counts as open"),
    Place("unlink", "unlink_if_there", None, "tried once more"),
    Place("unlink", "Lock._unlink_if_ours", None, "tried once more"),
    Place(
        "fchown",
        "_give < preserve",
        _only(e.EPERM, e.EINVAL),
        "not ours to give: a warning, and no set-id bits for the wrong owner",
        "WARNING",
        metadata=True,
    ),
    Place(
        "getxattr_at",
        r"_copy_xattrs\.<locals>\.<lambda> < _Copying\.set",
        _only(e.EACCES, e.EPERM, e.ENODATA, e.EOPNOTSUPP),
        "an attribute that may not be read or has gone",
        "DEBUG",
        metadata=True,
    ),
    Place(
        "setxattr",
        r"_set < _Copying\.set",
        _only(e.EACCES, e.EPERM, e.EINVAL, e.EOPNOTSUPP),
        "an attribute that may not be set",
        "DEBUG",
        metadata=True,
    ),
    Place(
        "listxattr_at",
        "_copy_xattrs",
        _only(e.EACCES, e.ENOENT),
        "a security module, or no /proc: the open file is asked instead",
    ),
    Place(
        "listxattr",
        "_present < _copy_xattrs",
        _only(e.EOPNOTSUPP),
        "a filesystem without attributes has none to lose",
        metadata=True,
    ),
    Place(
        "listxattr_at",
        "_copy_xattrs",
        _only(e.EOPNOTSUPP),
        "a filesystem without attributes has none to lose",
        metadata=True,
    ),
    Place("listdir", "orphans < recover", None, "a sweep never makes a write fail", "DEBUG"),
    Place(
        "open",
        "Held.open < _prove",
        None,
        "what cannot be opened is not a proven orphan",
    ),
    Place("flock", "_prove", None, "what cannot be flocked is not a proven orphan"),
    Place("fstat", "_prove", None, "no proven orphan"),
    Place("stat", "_prove", None, "no proven orphan"),
    Place("unlink", r"_reap\.<locals>\.reap", None, "an orphan that stays is swept another time"),
    Place(
        "fsync",
        "settle_directory < recover < _remove",
        None,
        "removing a lock on request does not depend on the disk",
        "WARNING",
    ),
    Place(
        "stat",
        "recall < inspect_guarantees",
        None,
        "the nearest parent that can be looked at is judged",
    ),
    Place(
        "read", "_TableStream.readinto", _only(e.EINTR), "io.BufferedReader repeats it (PEP 475)"
    ),
    Place("write", "_TableStream.write", _only(e.EINTR), "io.BufferedWriter repeats it (PEP 475)"),
)


def place_of(site: tuple[str, str], code: int) -> Place | None:
    """Return the place an error was tolerated at, None if there is none."""
    return next((place for place in PLACES if place.matches(site, code)), None)
