"""Plain-file persistence with explicit, composable guarantees that can be inspected at run time.

General layout: every public name of `safeatomic_core` and `safeatomic_formats` is here under its
own name, and nothing else is. The core's names are imported outright. The format functions are
resolved on first use (PEP 562), so that a program which writes plain files pays for no parser; type
checkers see ordinary imports, so that a misspelt name is an error for them too. `__all__` is the
whole public surface and is written out for them.
"""

from __future__ import annotations

from safeatomic_core import (
    AtomicReader,
    AtomicWriter,
    ChecksumInfo,
    ChecksumMismatchError,
    CrossDeviceAtomicityError,
    DoctorCheck,
    DoctorReport,
    Environment,
    GuaranteeReport,
    LockError,
    LockInfo,
    SafeAtomicError,
    UnsupportedEnvironmentError,
    UnsupportedEnvironmentWarning,
    compute_hash_data,
    compute_hash_file,
    doctor,
    force_release_lock,
    get_checksum_info,
    get_lock_age,
    inspect_guarantees,
    inspect_lock,
    is_locked,
    is_stale_lock,
    move_atomic,
    read_atomic,
    read_atomic_bytes,
    release_lock,
    release_stale_lock,
    safeatomic_config,
    try_acquire_lock,
    verify_checksum,
    write_atomic,
    write_atomic_bytes,
    write_checksum_file,
)

from ._version import __version__ as __version__

TYPE_CHECKING = False  # type checkers take this name as true; importing typing is slow
if TYPE_CHECKING:
    from safeatomic_formats import (
        atomic_json_dump,
        atomic_json_load,
        atomic_toml_dump,
        atomic_toml_load,
        atomic_yaml_dump,
        atomic_yaml_dump_ruamel,
        atomic_yaml_load,
        atomic_yaml_load_ruamel,
    )
else:

    def __getattr__(name):
        if name.startswith("atomic_") and name in __all__:
            import safeatomic_formats

            value = globals()[name] = getattr(safeatomic_formats, name)
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    # Files
    "AtomicWriter",
    "AtomicReader",
    "write_atomic",
    "write_atomic_bytes",
    "read_atomic",
    "read_atomic_bytes",
    "move_atomic",
    # Locks
    "try_acquire_lock",
    "release_lock",
    "force_release_lock",
    "is_locked",
    "inspect_lock",
    "get_lock_age",
    "is_stale_lock",
    "release_stale_lock",
    "LockInfo",
    # Checksums
    "compute_hash_file",
    "compute_hash_data",
    "verify_checksum",
    "write_checksum_file",
    "get_checksum_info",
    "ChecksumInfo",
    # Guarantees and diagnosis
    "inspect_guarantees",
    "GuaranteeReport",
    "Environment",
    "doctor",
    "DoctorReport",
    "DoctorCheck",
    # Defaults
    "safeatomic_config",
    # Errors
    "SafeAtomicError",
    "UnsupportedEnvironmentError",
    "UnsupportedEnvironmentWarning",
    "ChecksumMismatchError",
    "CrossDeviceAtomicityError",
    "LockError",
    # Documents
    "atomic_json_dump",
    "atomic_json_load",
    "atomic_yaml_dump",
    "atomic_yaml_load",
    "atomic_yaml_dump_ruamel",
    "atomic_yaml_load_ruamel",
    "atomic_toml_dump",
    "atomic_toml_load",
]
