"""What a word such as `optimizer=adam` or `+model.dropout=0.3` means here.

`a.b=c`, `+a.b=c` and `++a.b=c` are the same: the key is set, whether or not the file has it (whether it exists at all
is checked afterwards, against the dataclasses). `group=choice` works whether or not the file has a defaults list.

>>> [(word.key_or_group, word.value()) for word in read(["optimizer.adam_betas=(0.9,0.98)", "task.data=a=b"])]
[('optimizer.adam_betas', '(0.9,0.98)'), ('task.data', 'a=b')]
"""

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any, List, Optional

from hydra._internal.config_repository import IConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from fairseq.dataclass import schema
from fairseq.dataclass.quantization_file import is_file_name
from fairseq.errors import ConfigError

_WORD = re.compile(r"^(?P<key>(?:\+\+?|~)?[\w./@:-]+)=(?P<value>[^\[{'\"].*)$", re.DOTALL)


def read(words: Sequence[str], loader: Optional[Any] = None) -> List[Override]:
    """Parse words by Hydra's grammar; a value that it cannot read, such as `(0.9,0.98)` or `a=b`, is taken as text."""
    parser = OverridesParser.create(config_loader=loader)
    result = []
    for word in words:
        try:
            result.extend(parser.parse_overrides([word]))
        except HydraException as error:
            quoted = _quote(word)
            if quoted is None:
                raise ConfigError(_complaint(word, error)) from None
            result.extend(parser.parse_overrides([quoted]))
    return result


def _quote(word: str) -> Optional[str]:
    match = _WORD.match(word)
    if match is None:
        return None
    value = match["value"].replace("\\", "\\\\").replace("'", "\\'")
    return f"{match['key']}='{value}'"


def _complaint(word: str, error: HydraException) -> str:
    if "=" not in word:
        return f"{word!r} is no setting; write KEY=VALUE (all keys: -h)"
    reason = str(error).splitlines()[0]
    return f"cannot read {word!r} ({reason}); put the value into quotes inside the word: KEY='\"VALUE\"'"


def adapt(words: Sequence[Override], repository: IConfigRepository, listed: Container[str]) -> List[Override]:
    """Say in Hydra's terms what the words mean.

    Args:
        listed: groups that the config's defaults list has; a choice replaces theirs, others are appended.
    """
    return [_adapt(word, repository, listed) for word in words]


def _adapt(word: Override, repository: IConfigRepository, listed: Container[str]) -> Override:
    if word.is_hydra_override() or word.package is not None:
        return word
    key, value = word.key_or_group, word.value()
    if key == "quantization" and is_file_name(value):
        return replace(word, key_or_group="quantization.preset", type=OverrideType.FORCE_ADD)
    if repository.group_exists(key) and not isinstance(value, dict):
        if key in schema.SLOTS and value is None:  # optimizer=null and ~optimizer: nothing is chosen
            return replace(word, key_or_group=f"{key}._name", type=OverrideType.FORCE_ADD)
        if word.is_delete():
            return word
        return replace(word, type=OverrideType.CHANGE if key in listed else OverrideType.ADD)
    if word.is_delete():
        return word
    return replace(word, type=OverrideType.FORCE_ADD)


def chosen_slots(words: Sequence[Override]) -> set[str]:
    """Slots whose component the words choose."""
    keys = {word.key_or_group.removesuffix("._name") for word in words if not word.is_delete()}
    return keys & set(schema.SLOTS)


def given_keys(words: Sequence[Override]) -> set[str]:
    """Dotted keys that the words set."""
    return {word.key_or_group for word in words if "." in word.key_or_group}
