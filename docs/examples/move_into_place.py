"""Prepare a file, check it, and move it into place together with its checksum."""

import os

from safeatomic import move_atomic, verify_checksum, write_atomic

write_atomic("release.new", "candidate 7\n", write_checksum=True)
assert verify_checksum("release.new")
move_atomic("release.new", "release.txt")
assert verify_checksum("release.txt")

write_atomic("release.new", "candidate 8\n", write_checksum=True)
try:
    move_atomic("release.new", "release.txt")
except FileExistsError as error:
    print(error)
move_atomic("release.new", "release.txt", force=True)
assert sorted(os.listdir(".")) == ["release.txt", "release.txt.sha256"]
