"""Kill a writer in the middle of its write: the old content stays, and the next writer goes on."""

import os
import signal

from safeatomic import AtomicWriter, inspect_lock, read_atomic, write_atomic

write_atomic("file.txt", "old")

child = os.fork()
if child == 0:
    writer = AtomicWriter("file.txt")
    writer.write(b"half of the new cont")
    writer.flush()
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)

print("left behind:", sorted(os.listdir(".")))
print(inspect_lock("file.txt"))
assert read_atomic("file.txt") == "old"

write_atomic("file.txt", "new")  # takes the dead writer's lock over and sweeps its temp
assert read_atomic("file.txt") == "new"
assert os.listdir(".") == ["file.txt"]
print("afterwards:", os.listdir("."))
