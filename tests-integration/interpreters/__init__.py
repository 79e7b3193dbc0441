"""Other interpreters than those that are installed: Debian's newest, in a folder of their own.

    room     a small Debian with CPython 3.14, 3.15 and PyPy, and a way in and out
    run      the tests of this checkout on one of them

``nox -s interpreters`` builds wheels and test tools first. Nothing is installed on the machine, and
nothing stays mounted: the room is entered in a mount and process namespace of its own.
"""
