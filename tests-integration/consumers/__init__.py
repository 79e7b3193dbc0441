"""Programs and libraries that write files, each through an `AtomicWriter`."""
