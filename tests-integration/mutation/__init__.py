"""Mutation testing: break the core in one small place, and see whether any test notices.

    points   the places at which the source can be broken, found in its syntax tree
    trial    the tests on a broken copy, cheapest first
    run      a random sample of the points, and a report

A long run, no part of the default one: ``nox -s mutation -- --sample 100 --seed 1``.
"""
