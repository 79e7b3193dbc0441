"""Two writers of one file: the second gets an error that names the holder, or waits."""

from concurrent.futures import ThreadPoolExecutor

from safeatomic import AtomicWriter, LockError, read_atomic, write_atomic

writer = AtomicWriter("file.txt")
writer.write(b"first")

with ThreadPoolExecutor(1) as another_thread:
    try:
        another_thread.submit(write_atomic, "file.txt", "second").result()
    except LockError as error:
        print(error)
    else:
        raise AssertionError("two writers at once")

    # With retries, the second waits until the first has committed.
    waiting = another_thread.submit(write_atomic, "file.txt", "second", retries=1000, delay=0.01)
    writer.commit()
    waiting.result()
assert read_atomic("file.txt") == "second"
