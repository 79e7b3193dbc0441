"""Crash images of real filesystems: the tests. What they use is in `crashlab`."""
