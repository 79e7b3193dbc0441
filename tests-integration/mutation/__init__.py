"""Mutation testing: break the core in one small place, and see whether any test notices.

    points     the places at which the source can be broken, found in its syntax tree
    server     a process that holds all unit tests and runs some of them on one mutant after another
    pool       the quick look: which tests execute a line, and a few servers that run them
    trial      the full look at what passed: all tests on a broken copy, the cheapest first
    explained  mutants that no test need notice, with reasons
    run        a random sample of the points, and a report

A long run, no part of the default one: ``nox -s mutation -- --sample 100 --seed 1``.
"""
