"""Read a file again and again while another thread replaces it: every version is whole."""

import threading

from safeatomic import read_atomic_bytes, write_atomic_bytes

SIZE = 1_000_000
write_atomic_bytes("data.bin", b"0" * SIZE)


def write() -> None:
    for digit in b"123456789":
        write_atomic_bytes("data.bin", bytes([digit]) * SIZE)


writer = threading.Thread(target=write)
writer.start()
versions = set()
while writer.is_alive():
    content = read_atomic_bytes("data.bin")
    assert len(content) == SIZE
    assert len(set(content)) == 1, "a mixture of two versions"
    versions.add(chr(content[0]))
writer.join()
print("versions seen:", "".join(sorted(versions)))
