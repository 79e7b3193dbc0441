"""Flip one bit behind the library's back: the checked read finds it."""

from pathlib import Path

from safeatomic import ChecksumMismatchError, read_atomic_bytes, write_atomic_bytes

for version in (b"one", b"two", b"three"):
    write_atomic_bytes("ledger", version, write_checksum=True)
    assert read_atomic_bytes("ledger", check_checksum=True) == version

content = bytearray(Path("ledger").read_bytes())
content[0] ^= 1
Path("ledger").write_bytes(content)

try:
    read_atomic_bytes("ledger", check_checksum=True)
except ChecksumMismatchError as error:
    print(f"expected {error.expected[:12]}…, found {error.actual[:12]}…")
else:
    raise AssertionError("the damage went unnoticed")
