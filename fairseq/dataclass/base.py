"""The base of every config dataclass, and `option`, the way its fields are written.

    @dataclass
    class AdamConfig(FairseqDataclass):
        adam_eps: float = option(1e-8, "added to the denominator")

A field's help text is what `-h` prints. `II("optimization.lr")` as a default makes a field follow another one.
"""

import enum
from collections.abc import Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, field
from typing import Any, Optional

from omegaconf import II, MISSING

from fairseq.dataclass.ranges import Range

__all__ = ["II", "MISSING", "ChoiceEnum", "FairseqDataclass", "StrEnum", "option"]


def option(
    default: Any,
    help: str,
    *,
    const: Any = None,
    alias: Sequence[str] = (),
    delete_default: bool = False,
    path: Optional[str] = None,
    flag: Optional[str] = None,
    names: Optional[str] = None,
    within: Optional[Range] = None,
    valued: bool = False,
) -> Any:
    """A config field with help text.

    Args:
        default: the default; a list is copied for each instance.
        help: one line for `-h`.
        const: the value of the bare command-line flag (argparse `nargs="?"`). A switch sets the opposite of its default
            unless this says otherwise.
        alias: further flag names, `"--max-sentences"`.
        delete_default: leave the flag out of the parsed namespace unless it is given.
        path: `"in"` for a file or folder that is read (several may stand with colons between), `"out"` for one that is
            written; relative ones are taken from the folder that the command was started in.
        flag: the command-line flag, where its name is not the field's.
        names: `"module:NAMES"`, what the field may name; `-h` lists it behind `help`. Imported when help is printed.
        within: the numbers that the field accepts, see `fairseq.dataclass.ranges`; every number field has one.
        valued: the flag of a switch takes a value, `--encoder-glu 0`.
    """
    metadata: dict[str, Any] = {"help": help}
    if const is not None:
        metadata["argparse_const"] = const
    if alias:
        metadata["argparse_alias"] = list(alias)
    if delete_default:
        metadata["delete_default"] = True
    if path is not None:
        metadata["path"] = path
    if flag is not None:
        metadata["flag"] = flag
    if names is not None:
        metadata["names"] = names
    if within is not None:
        metadata["within"] = within
    if valued:
        metadata["valued"] = True
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class FairseqDataclass:
    """Base of config dataclasses; `_name` holds the registered name of the component that the config is for."""

    _name: Optional[str] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Python 3.11 refuses unhashable defaults; plugins written for fairseq use config instances as field defaults.
        # Only classes that serve as such get a hash: one of their own (`unsafe_hash=True`) has to stay possible.
        super().__init_subclass__(**kwargs)
        for value in vars(cls).values():
            default = value.default if isinstance(value, Field) else value
            if isinstance(default, FairseqDataclass) and type(default).__hash__ is None:
                type(default).__hash__ = object.__hash__  # type: ignore[method-assign, assignment]

    @staticmethod
    def name() -> Optional[str]:
        """Overridden where a config has its component's name."""
        return None

    def _metadata(self, attribute: str, key: str) -> Any:
        return self.__dataclass_fields__[attribute].metadata.get(key)

    def _get_all_attributes(self) -> list[str]:
        return list(self.__dataclass_fields__)

    def _get_help(self, attribute: str) -> Optional[str]:
        return self._metadata(attribute, "help")

    def _get_argparse_const(self, attribute: str) -> Any:
        return self._metadata(attribute, "argparse_const")

    def _get_argparse_alias(self, attribute: str) -> Any:
        return self._metadata(attribute, "argparse_alias")

    def _get_choices(self, attribute: str) -> Any:
        return self._metadata(attribute, "choices")

    def _get_type(self, attribute: str) -> Any:
        return self.__dataclass_fields__[attribute].type

    def _get_default(self, attribute: str) -> Any:
        """The value of this instance: it may have been made with another than the field's."""
        if hasattr(self, attribute):
            return getattr(self, attribute)
        declared = self.__dataclass_fields__[attribute]
        if declared.default_factory is not NO_DEFAULT:
            return declared.default_factory()
        return declared.default


class StrEnum(enum.StrEnum):
    """An enum whose members are strings: they print as, compare as and hash as their value."""

    def __repr__(self) -> str:
        return repr(self.value)


def ChoiceEnum(choices: Sequence[str]) -> Any:
    """An enum type over `choices`, for fields that accept only those strings."""
    return StrEnum("Choices", {choice: choice for choice in choices})  # type: ignore[call-arg]
