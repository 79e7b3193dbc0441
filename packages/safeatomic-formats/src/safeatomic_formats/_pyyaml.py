"""YAML text through PyYAML, checked to read back, and the same with and without libyaml."""

from __future__ import annotations

import yaml
from yaml.constructor import ConstructorError
from yaml.scanner import ScannerError

from . import _pyyaml_read
from ._culprit import misfit
from ._interrupts import interrupted
from ._plain import without_ruamel
from ._pyyaml_read import PureLoader as PureLoader
from ._pyyaml_write import DisagreementError, PureDumper
from ._readback import check, unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if yaml.__with_libyaml__:
    from ._pyyaml_read import DeepLoader
    from ._pyyaml_read import LibyamlLoader as LibyamlLoader
    from ._pyyaml_write import LibyamlDumper

# No line is folded: the emitters fold at different places, and folded text makes diffs noisy.
WIDTH = 2**31 - 1


def render(obj: object, default_flow_style: bool | None, sort_keys: bool) -> str:
    """Return an object as the text of one YAML document that reads back as that object."""
    obj = without_ruamel(obj)
    text = _emit(obj, default_flow_style, sort_keys)
    try:
        read = parse(text)
    except yaml.YAMLError as error:

        def survives(part: object) -> bool:
            try:
                parse(_emit(part, default_flow_style, sort_keys))
            except yaml.YAMLError:
                return False
            return True

        raise unreadable(obj, "YAML", error, survives) from error
    check(obj, read, "YAML", aliases=True)
    return text


def _emit(obj: object, default_flow_style: bool | None, sort_keys: bool) -> str:
    options: dict[str, Any] = {
        "default_flow_style": default_flow_style,
        "sort_keys": sort_keys,
        "allow_unicode": True,
        "width": WIDTH,
    }
    text: str
    if yaml.__with_libyaml__:
        try:
            text = yaml.dump(obj, Dumper=LibyamlDumper, **options)
        except DisagreementError:
            text = yaml.dump(obj, Dumper=PureDumper, **options)
    else:
        text = yaml.dump(obj, Dumper=PureDumper, **options)
    # The pure emitter (and libyaml before 0.2.5) ends a lone plain scalar with the marker, on a
    # line of its own. A text that ends in dots shares its line with a key, a dash or a quote.
    return text.removesuffix("...\n") if text.endswith("\n...\n") else text


def parse(text: str) -> Any:
    """Return the only document in a text."""
    try:
        if not yaml.__with_libyaml__ or _pyyaml_read.loaders_disagree(text):
            return yaml.load(text, PureLoader)  # noqa: S506 - safe loaders, here and below
        try:
            return yaml.load(text, LibyamlLoader)  # noqa: S506
        except _pyyaml_read.DeepError:
            return yaml.load(text, DeepLoader)  # noqa: S506
    except ScannerError as error:
        if error.problem == _TOO_DEEP:
            raise _pyyaml_read.depth_error() from error
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # PyYAML fails like this on `!!int ''`, `!!timestamp never` or a month 13: bad input.
        if interrupted(error):
            raise
        problem, mark = misfit(error)
        raise ConstructorError(None, None, problem, mark) from error


_TOO_DEEP = "exceeded maximum nesting depth"  # libyaml's own limit from 0.2.6 on, 1,000 as well
