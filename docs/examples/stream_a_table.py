"""Write a table as a stream, in constant memory; readers see the old one until it is complete."""

import csv
import io

from safeatomic import AtomicReader, AtomicWriter

with AtomicWriter("table.csv", write_checksum=True) as file:
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(["n", "square"])
        rows.writerows([n, n * n] for n in range(100_000))

with AtomicReader("table.csv", check_checksum=True) as file:
    print(file.readline().decode().strip(), "and", sum(1 for _ in file), "rows")
