"""Flags of the components that a command line chooses: models, tasks, criterions, ..., built-in or of a plugin.

import_plugins(words)                                 # --user-dir
add_component_flags(parser, first_pass, lenient=False)
"""

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, Optional

from fairseq.dataclass import catalog, schema
from fairseq.dataclass.flags import gen_parser_from_dataclass
from fairseq.errors import ConfigError, unknown

# slots that are chosen by a flag of the same name, and what is taken without it
CHOICE_FLAGS: dict[str, Optional[str]] = {
    "criterion": "cross_entropy",
    "tokenizer": None,
    "bpe": None,
    "optimizer": None,
    "lr_scheduler": "fixed",
    "scoring": "bleu",
}


def import_plugins(words: Sequence[str]) -> None:
    """Import the `--user-dir` that is among `words`, so that its components are registered."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--user-dir", default=None)
    user_dir = parser.parse_known_args(list(words))[0].user_dir
    if user_dir is not None:
        from fairseq.plugins import import_user_module

        import_user_module(Namespace(user_dir=user_dir))


def add_component_flags(parser: ArgumentParser, args: Namespace, lenient: bool) -> None:
    """Flags of the components that the first pass found.

    Args:
        lenient: leave out what is missing or unknown (for -h).
    """
    arch = getattr(args, "arch", None)
    if arch is not None:
        add_flags_of_component(parser, "model", arch, lenient)
    for slot in (*CHOICE_FLAGS, "task"):
        name = getattr(args, slot, None)
        if name is None or (name not in schema.components(slot) and name == parser.get_default(slot)):
            continue  # not chosen: only the default of another command
        add_flags_of_component(parser, slot, name, lenient)


def add_flags_of_component(parser: ArgumentParser, slot: str, name: str, lenient: bool) -> None:
    """Flags of component `name` of `slot`, from its dataclass or its `add_args`.

    Raises:
        ConfigError: there is no such component, unless `lenient`.
    """
    if name not in schema.components(slot):
        if lenient:
            return
        raise ConfigError(unknown(slot.replace("_", " "), name, schema.components(slot)))
    # a model's flag that is not given sets no attribute: its architecture's function fills in what is missing
    from_plugin = name not in catalog.group(slot)
    dataclass = schema.dataclass_of(slot, name)
    suppressed = slot == "model" or (from_plugin and dataclass is not None)
    settings = {"argument_default": argparse.SUPPRESS} if suppressed else {}
    group = parser.add_argument_group(f"{slot}: {name}", **settings)
    if dataclass is not None:
        gen_parser_from_dataclass(group, dataclass(), delete_default=from_plugin)
    elif hasattr(cls := _plugin_class(slot, name), "add_args"):
        parser.conflict_handler = group.conflict_handler = "resolve"
        cls.add_args(group)
        parser.conflict_handler = "error"


def _plugin_class(slot: str, name: str) -> Any:
    """The class of a registered component that has no dataclass."""
    if slot == "task":
        from fairseq.tasks import TASK_REGISTRY

        return TASK_REGISTRY[name]
    if slot == "model":
        from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY

        return ARCH_MODEL_REGISTRY[name] if name in ARCH_MODEL_REGISTRY else MODEL_REGISTRY[name]
    from fairseq.registry import REGISTRIES

    return REGISTRIES[slot]["registry"][name]
