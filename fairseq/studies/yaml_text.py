"""YAML of which every scalar is the text that was written: what a study hands on to command lines.

YAML would read `2:4` as 124, `012` as 10, `no` as false and `1e-3` as a text.

>>> parse("{rows: {no: [model.pattern=2:4], 012: &x [lr=1e-3]}, more: {<<: {a: null}}}")
{'rows': {'no': ['model.pattern=2:4'], '012': ['lr=1e-3']}, 'more': {'a': 'null'}}
>>> parse("{a: 1, a: 2}")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: line 1: 'a' is there twice
"""

from typing import Any

import yaml

from fairseq.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Without types; anchors and `<<` work as ever."""

    yaml_implicit_resolvers = {
        "<": [pair for pair in yaml.SafeLoader.yaml_implicit_resolvers["<"] if "merge" in pair[0]]
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ConfigError(f"line {key.start_mark.line + 1}: {key.value!r} is there twice")
            if key.tag != "tag:yaml.org,2002:merge":
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str) -> Any:
    """What `text` holds, of dicts, lists and strings.

    Raises:
        ConfigError: it is no YAML.
    """
    try:
        loader = _Loader(text)  # a safe one: it makes dicts, lists and strings only
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise ConfigError(f"{where}{getattr(error, 'problem', None) or error}") from None
    except TypeError:  # a list as a key
        raise ConfigError("a key is no text") from None
    except RecursionError:
        raise ConfigError("brackets are within each other too deeply") from None
