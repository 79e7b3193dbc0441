"""Plain-file persistence with explicit guarantees: atomic, durable, locked, checked.

General layout, each module knowing only those below it:

    _cli                       the ``safeatomic`` command
    _io _writer _reader _move  the calls a user makes on files
    _locking _integrity        … on locks and checksums
    _doctor _examination       what the environment promises, tried out
    _inspections _probes       … check by check, with _place and _block
    _protocol                  the ten steps of one write
    _sidecar                   the checksum sidecar's part in them: Announce and Seal
    _metadata                  what an overwritten file keeps
    _lock _lock_file           the cooperative lock, and its file
    _checksum                  digests, the sidecar's format, the reader's double check
    _guarantees _environment   what this filesystem promises, and which one it is
    _target _temp              a name in an open directory; temporary files
    _posix _mounts             every system call
    _policy _errors _config _types _trace _log

The names below are the whole public surface.
"""

from __future__ import annotations

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
