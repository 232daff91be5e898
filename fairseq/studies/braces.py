"""Words in braces in a command line of a study: `{row}` or `{after}` stands for a text, `{{` and `}}` are braces.

>>> fill("restore_file={after}/checkpoint_last.pt", {"after": "/tmp/my out"}, hydra=True)
"restore_file='/tmp/my out/checkpoint_last.pt'"
>>> fill("{{{here}}}", {})
'{{here}}'
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from fairseq.errors import ConfigError, unknown

_BRACES = re.compile(r"\{\{|\}\}|\{(\w[\w.-]*)\}")
_DOUBLED = {"{{": "{", "}}": "}"}


def named(words: Iterable[str]) -> Iterator[str]:
    """The names in braces.

    >>> list(named(["{here}/a{after}", "{{row}}"]))
    ['here', 'after']
    """
    for word in words:
        yield from (match[1] for match in _BRACES.finditer(word) if match[1] is not None)


def replaced(word: str, values: Mapping[str, str], later: Iterable[str], where: str) -> str:
    """`word` with `values`; the names in `later`, and doubled braces, are left for `fill`.

    Raises:
        ConfigError: another name.
    """

    def value(match: re.Match) -> str:
        if match[1] is None or match[1] in later:
            return match[0]
        if match[1] not in values:
            raise ConfigError(unknown("name in braces", match[1], [*values, *later], where))
        return values[match[1]]

    return _BRACES.sub(value, word)


def fill(word: str, folders: Mapping[str, str], hydra: bool = False) -> str:
    """`word` with its folders, and single braces for doubled ones; other names stay.

    Args:
        hydra: quote the value, for Hydra's grammar, where a folder's name asks for it.
    """
    filled = _BRACES.sub(lambda match: _DOUBLED.get(match[0]) or folders.get(match[1], match[0]), word)
    key, equals, value = filled.partition("=")
    has_folder = any(name in folders for name in named([word]))
    if not hydra or not has_folder or not equals or value[:1] in "'\"" or re.fullmatch(r"[\w./:+-]+", value):
        return filled
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"
