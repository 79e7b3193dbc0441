"""Every name used as documented: a type checker finds nothing to say. Not run, only checked."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, assert_type

import safeatomic
import safeatomic_core
import safeatomic_formats
from safeatomic import (
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
    atomic_json_dump,
    atomic_json_load,
    atomic_toml_dump,
    atomic_toml_load,
    atomic_yaml_dump,
    atomic_yaml_dump_ruamel,
    atomic_yaml_load,
    atomic_yaml_load_ruamel,
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

for path in ("text", b"bytes", Path("path")):
    write_atomic(path, "text", encoding="utf-8", safety="warn", concurrency="none")
    write_atomic_bytes(path, b"data", retries=3, delay=0.5, session="run")
    write_atomic_bytes(path, memoryview(bytearray(3)), write_checksum=True, checksum_algo="sha512")
    assert_type(read_atomic(path, check_checksum=True), str)
    assert_type(read_atomic_bytes(path, safety="best_effort"), bytes)
    move_atomic(path, "elsewhere", force=True, preserve_metadata=False)

    with AtomicWriter(path, write_checksum=True) as writer:
        assert_type(writer, AtomicWriter)
        text = io.TextIOWrapper(writer, encoding="utf-8")
        text.write("line\n")
        assert_type(writer.fileno(), int)
        writer.commit()
    with AtomicReader(path, check_checksum=True) as reader:
        assert_type(reader, AtomicReader)
        assert_type(reader.read(10), bytes)
        for line in io.TextIOWrapper(reader):
            assert_type(line, str)

    assert_type(try_acquire_lock(path, retries=1), bool)
    assert_type(release_lock(path), bool)
    assert_type(force_release_lock(path), bool)
    assert_type(is_locked(path), bool)
    assert_type(get_lock_age(path), float | None)
    assert_type(is_stale_lock(path, max_age_s=60), bool)
    assert_type(release_stale_lock(path, max_age_s=None), bool)
    lock = inspect_lock(path)
    assert_type(lock, LockInfo)
    assert_type(lock.pid, int | None)
    assert_type(lock.exists, bool)

    assert_type(compute_hash_file(path, algo="sha256"), str)
    assert_type(compute_hash_data(b"data"), str)
    assert_type(verify_checksum(path), bool)
    assert_type(write_checksum_file(path), Path)
    checksum = get_checksum_info(path)
    assert_type(checksum, ChecksumInfo | None)
    if checksum is not None:
        assert_type(checksum.hash, str)

    report = inspect_guarantees(path)
    assert_type(report, GuaranteeReport)
    assert_type(report.environment, Environment)
    assert_type(report.is_guaranteed("CrashDurability"), bool)
    diagnosis = doctor(path, destructive=True, require=["AtomicVisibility"])
    assert_type(diagnosis, DoctorReport)
    assert_type(diagnosis.ok, bool)
    assert_type(diagnosis.checks, tuple[DoctorCheck, ...])

    atomic_json_dump(path, {"a": 1}, indent=None, sort_keys=True, ensure_ascii=True)
    atomic_json_dump(path, {1, 2}, default=list, cls=json.JSONEncoder, allow_nan=True)
    assert_type(atomic_json_load(path), Any)
    atomic_yaml_dump(path, [1], default_flow_style=None)
    assert_type(atomic_yaml_load(path, encoding="utf-8"), Any)
    atomic_yaml_dump_ruamel(path, {}, session="run")
    assert_type(atomic_yaml_load_ruamel(path), Any)
    atomic_yaml_dump_ruamel(path, {}, yaml_instance=None)
    assert_type(atomic_yaml_load_ruamel(path, yaml_instance=None), Any)
    atomic_toml_dump(path, {"a": 1})
    atomic_toml_dump(path, {"a": "b"}, multiline_strings=True)
    assert_type(atomic_toml_load(path), dict[str, Any])

with safeatomic_config(encoding="utf-8", checksum_algo="sha256", retries=2, delay=0.1):
    pass

try:
    read_atomic("file", check_checksum=True)
except ChecksumMismatchError as error:
    assert_type(error.expected, str)
except LockError as error:
    assert_type(error.reason, str)
except CrossDeviceAtomicityError as error:
    assert_type(error.src, str)
except UnsupportedEnvironmentError as error:
    assert_type(error.guarantee, str)
except SafeAtomicError:
    pass

warning: type[UserWarning] = UnsupportedEnvironmentWarning
assert_type(safeatomic.__version__, str)
assert_type(safeatomic_core.__version__, str)
assert_type(safeatomic_formats.__version__, str)
