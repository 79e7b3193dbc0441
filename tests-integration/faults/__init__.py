"""Faults: what the library does when system calls fail, processes die and machines crash."""
