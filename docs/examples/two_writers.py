"""Two writers of one file: the second is told who holds the lock, or waits for it."""

import threading

from safeatomic import AtomicWriter, LockError, read_atomic, write_atomic

writer = AtomicWriter("file.txt")
writer.write(b"first")

try:
    write_atomic("file.txt", "second")
except LockError as error:
    print(error)
else:
    raise AssertionError("two writers at once")

# With retries, the second waits until the first has committed.
waiting = threading.Thread(
    target=write_atomic, args=("file.txt", "second"), kwargs={"retries": 1000, "delay": 0.01}
)
waiting.start()
writer.commit()
waiting.join()
assert read_atomic("file.txt") == "second"
