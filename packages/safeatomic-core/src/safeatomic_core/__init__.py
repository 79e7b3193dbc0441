"""Plain-file persistence with explicit guarantees: atomic, durable, locked, checked.

General layout. A module imports only what stands below it, or right of it on its line; a test reads
this drawing and holds it:

    __init__  __main__  _version
    # annexes, loaded by their first use
    _cli                    the ``safeatomic`` command
    _doctor                 whether a place keeps what it promises
    # public functions
    _file_api               write_atomic*, read_atomic*
    _writer  _move  _checksum_api  _reader
    _text                   text streams over a writer
    _abandoned              writers that are dropped without commit or abort
    _lock_api               the eight lock functions, LockInfo
    _guarantees             inspect_guarantees, GuaranteeReport
    # the protocol
    _reading                one version of a file, opened, checked and read
    _protocol               Write: the ten steps in their order, and nothing else
    _recording              recording the checksum of existing content: Announce alone
    _in_place               writing into a file that is a mount point
    _change                 what any change holds, how it fails, how it ends
    _gate                   Gate: what a call needs of the place, and the refusal
    _permission             whether the caller may replace an existing file
    _held_locks             the locks of the running context, and those that fence a write
    _waiting                waiting for a lock, for a bounded time and in turn
    _command_lock           the lock that ``safeatomic lock`` named in the environment
    _lock                   Acquire and Release
    _announcement           Announce and Seal
    _retirement             removing a sidecar that would no longer match
    _readership             who may read a checksum record
    _replacement            replacing what has the sidecar's name, with no other program in between
    _settle                 Settle, and recovery behind a dead writer
    _metadata               Harden's first half
    _verification           what a reader concludes from a file and its sidecar
    _advice                 what to do when the system refuses a call
    # the files we leave in a directory
    _temp_file  _lock_file  _sidecar_file
    _checksum_record        the form of our sidecars
    _checksum_lines         the lines that checksum tools print
    _lock_payload           what a lock file says
    _lock_readers           who may read a lock
    _acl                    access control lists, as the kernel writes them
    _rename                 a rename that replaces nothing
    _target                 one name in an open directory, and what is there now
    # where we are
    _verdicts               what a filesystem can promise, remembered for each device
    _environment            which filesystem this is
    _filesystems            what is known of each (pure tables)
    _mounts                 /proc, statfs, the watch on the mount table
    # ground
    _digests                of bytes and open files
    _holder                 who has taken a lock
    _forks                  descriptors that no forked child may keep, and forks counted
    _descriptor             owners of descriptors
    _posix                  the table of system calls
    _options                the options of a call: checks, defaults, Policy
    _errors  _types  _trace  _log
    _stack                  room on the stack for what ends a change, or a look at a checksum
    _hashes                 hash objects, of hashlib or of the interpreter's own

The names below are the whole public surface.
"""

from __future__ import annotations

import sys as _sys

from ._checksum_api import (
    ChecksumInfo,
    compute_hash_data,
    compute_hash_file,
    get_checksum_info,
    verify_checksum,
    write_checksum_file,
)
from ._doctor import DoctorCheck, DoctorReport, doctor
from ._environment import Environment
from ._errors import (
    ChecksumMismatchError,
    CrossDeviceAtomicityError,
    LockError,
    SafeAtomicError,
    UnsupportedEnvironmentError,
    UnsupportedEnvironmentWarning,
)
from ._file_api import read_atomic, read_atomic_bytes, write_atomic, write_atomic_bytes
from ._guarantees import GuaranteeReport, inspect_guarantees
from ._lock_api import (
    LockInfo,
    force_release_lock,
    get_lock_age,
    inspect_lock,
    is_locked,
    is_stale_lock,
    release_lock,
    release_stale_lock,
    try_acquire_lock,
)
from ._move import move_atomic
from ._options import safeatomic_config
from ._reader import AtomicReader
from ._version import __version__ as __version__
from ._writer import AtomicWriter

__all__ = [
    # files
    "AtomicWriter",
    "AtomicReader",
    "write_atomic",
    "write_atomic_bytes",
    "read_atomic",
    "read_atomic_bytes",
    "move_atomic",
    # locks
    "try_acquire_lock",
    "release_lock",
    "force_release_lock",
    "is_locked",
    "inspect_lock",
    "get_lock_age",
    "is_stale_lock",
    "release_stale_lock",
    "LockInfo",
    # checksums
    "compute_hash_file",
    "compute_hash_data",
    "verify_checksum",
    "write_checksum_file",
    "get_checksum_info",
    "ChecksumInfo",
    # guarantees
    "inspect_guarantees",
    "GuaranteeReport",
    "Environment",
    "doctor",
    "DoctorReport",
    "DoctorCheck",
    # defaults
    "safeatomic_config",
    # errors
    "SafeAtomicError",
    "UnsupportedEnvironmentError",
    "UnsupportedEnvironmentWarning",
    "ChecksumMismatchError",
    "CrossDeviceAtomicityError",
    "LockError",
]


def _load_all() -> None:
    """Load what is imported above, and what that imports in turn."""
    ours, loaded = f"{__name__}.", set[str]()
    while new := {name for name in [*_sys.modules] if f"{name}.".startswith(ours)} - loaded:
        loaded |= new
        for module in [_sys.modules[name] for name in new]:
            for name in list(vars(module)):
                getattr(module, name)


# With ``-X lazy_imports=all`` (Python 3.15) an import waits for the first look at what it imports.
# That may fail where a write has no descriptor left, after a chroot, or as the interpreter ends.
if getattr(_sys, "get_lazy_imports", str)() == "all":
    _load_all()

# A traceback names a class by its module: let that be the one that it is imported from, also in a
# copy that is vendored under another name.
for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
del _name
