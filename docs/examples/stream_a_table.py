"""Write a table as a stream, in constant memory; readers see the old one until it is complete."""

import csv

from safeatomic import AtomicReader, AtomicWriter

with AtomicWriter("table.csv", write_checksum=True) as file:
    rows = csv.writer(file.text(newline=""))
    rows.writerow(["n", "square"])
    rows.writerows([n, n * n] for n in range(100_000))

with AtomicReader("table.csv", check_checksum=True) as file:
    print(file.readline().decode().strip(), "and", sum(1 for _ in file), "rows")
