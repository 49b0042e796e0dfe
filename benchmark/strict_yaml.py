"""The YAML of suites and recipes: what YAML 1.1 would silently read as something else is refused with its line."""

import re
from typing import Any

import yaml

_OTHER_BASES = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""Octal numbers, and those of base 60, which look like decimal ones and like times."""

_MERGE = "tag:yaml.org,2002:merge"  # `<<`, which is no key


class _StrictLoader(yaml.SafeLoader):
    """Refuses keys that are given twice, octal and sexagesimal numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # A list, since a key may have no hash (a list as a key): PyYAML says so further down.
        keys: list[Any] = []
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            keys.append(key)
        return super().construct_mapping(node, deep)


def _number(loader: _StrictLoader, node: yaml.ScalarNode) -> Any:
    if _OTHER_BASES.fullmatch(node.value):
        reason = f"{node.value} is no decimal number, write it as one; or in quotes, as text"
        raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
    constructed = loader.construct_yaml_int if node.tag.endswith("int") else loader.construct_yaml_float
    return constructed(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _number)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _number)


def read_yaml(text: str) -> Any:
    """The plain values that the text holds; ValueError in one line where it is no YAML, or holds what is refused.

    >>> read_yaml("batches: 4")
    {'batches': 4}
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{place}{error.problem}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # dates that are none; lists in lists
        raise ValueError(" ".join(str(error).split())) from error
