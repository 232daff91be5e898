"""Command lines in fairseq's flags: parsers for each command, and the two passes that read them.

    parser = get_training_parser()
    args = parse_args_and_arch(parser, ["RTE-bin", "--task", "sentence_prediction", "--arch", "roberta_base", ...])

Which flags exist depends on the components that are chosen: the first pass finds --arch, --task, --criterion ..., their
flags are added, the second pass reads everything. Flags come from the config dataclasses; components of plugins
(--user-dir) bring theirs through a dataclass or through `add_args`.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any, Optional

from fairseq.component_flags import CHOICE_FLAGS, add_component_flags, import_plugins
from fairseq.dataclass import catalog, schema
from fairseq.dataclass.configs import (
    CheckpointConfig,
    CommonConfig,
    CommonEvalConfig,
    DatasetConfig,
    DistributedTrainingConfig,
    EMAConfig,
    EvalLMConfig,
    GenerationConfig,
    InteractiveConfig,
    OptimizationConfig,
    QuantizationGroup,
)
from fairseq.dataclass.flags import Parser, gen_parser_from_dataclass
from fairseq.dataclass.groups.preprocess import PreprocessConfig
from fairseq.errors import ConfigError

# ---- parsers, one per command


def get_preprocessing_parser(default_task: str = "translation") -> ArgumentParser:
    parser = get_parser("Preprocessing", default_task)
    add_preprocess_args(parser)
    return parser


def get_training_parser(default_task: str = "translation") -> ArgumentParser:
    parser = get_parser("Trainer", default_task)
    add_dataset_args(parser, train=True)
    add_distributed_training_args(parser)
    add_model_args(parser)
    add_optimization_args(parser)
    add_checkpoint_args(parser)
    add_ema_args(parser)
    add_quantization_args(parser)
    return parser


def get_validation_parser(default_task: Optional[str] = None) -> ArgumentParser:
    parser = get_parser("Validation", default_task)
    add_dataset_args(parser, train=True)
    add_distributed_training_args(parser, default_world_size=1)
    gen_parser_from_dataclass(parser.add_argument_group("Evaluation"), CommonEvalConfig())
    add_quantization_args(parser)
    return parser


def get_generation_parser(interactive: bool = False, default_task: str = "translation") -> ArgumentParser:
    parser = get_parser("Generation", default_task)
    add_dataset_args(parser, gen=True)
    add_distributed_training_args(parser, default_world_size=1)
    add_generation_args(parser)
    add_checkpoint_args(parser)
    if interactive:
        add_interactive_args(parser)
    return parser


def get_interactive_generation_parser(default_task: str = "translation") -> ArgumentParser:
    return get_generation_parser(interactive=True, default_task=default_task)


def get_eval_lm_parser(default_task: str = "language_modeling") -> ArgumentParser:
    parser = get_parser("Evaluate Language Model", default_task)
    add_dataset_args(parser, gen=True)
    add_distributed_training_args(parser, default_world_size=1)
    add_eval_lm_args(parser)
    return parser


def get_parser(desc: str, default_task: Optional[str] = "translation") -> ArgumentParser:
    """What all commands share: common flags, the choice of a task and of other components."""
    parser = Parser(description=desc, add_help=False)
    gen_parser_from_dataclass(parser.add_argument_group("common"), CommonConfig())
    group = parser.add_argument_group("components")
    for slot, default in CHOICE_FLAGS.items():
        _add_choice(group, slot, default)
    _add_choice(group, "task", default_task)
    return parser


def _add_choice(group: Any, slot: str, default: Optional[str], names: Sequence[str] = ()) -> None:
    names = names or [f"--{slot.replace('_', '-')}"]
    choices = ", ".join(catalog.group(slot))
    described = schema.help_of(schema.keys_of(schema.FairseqConfig)[slot]) + (f": {choices}" if choices else "")
    group.add_argument(*names, default=default, metavar="NAME", help=described)


# ---- groups of flags


def add_dataset_args(parser: ArgumentParser, train: bool = False, gen: bool = False) -> Any:
    return _add_group(parser, "dataset", DatasetConfig())


def add_distributed_training_args(parser: ArgumentParser, default_world_size: Optional[int] = None) -> Any:
    config = DistributedTrainingConfig()
    if default_world_size is not None:
        config.distributed_world_size = default_world_size
    return _add_group(parser, "distributed_training", config)


def add_optimization_args(parser: ArgumentParser) -> Any:
    return _add_group(parser, "optimization", OptimizationConfig())


def add_checkpoint_args(parser: ArgumentParser) -> Any:
    return _add_group(parser, "checkpoint", CheckpointConfig())


def add_ema_args(parser: ArgumentParser) -> Any:
    return _add_group(parser, "ema", EMAConfig())


def add_quantization_args(parser: ArgumentParser) -> Any:
    return _add_group(parser, "quantization", QuantizationGroup())


def add_common_eval_args(group: Any) -> None:
    gen_parser_from_dataclass(group, CommonEvalConfig())


def add_eval_lm_args(parser: ArgumentParser) -> Any:
    group = _add_group(parser, "eval_lm", EvalLMConfig())
    add_common_eval_args(group)
    return group


def add_generation_args(parser: ArgumentParser) -> Any:
    group = _add_group(parser, "generation", GenerationConfig())
    add_common_eval_args(group)
    return group


def add_interactive_args(parser: ArgumentParser) -> Any:
    return _add_group(parser, "interactive", InteractiveConfig())


def add_preprocess_args(parser: ArgumentParser) -> Any:
    return _add_group(parser, "preprocessing", PreprocessConfig())


def add_model_args(parser: ArgumentParser) -> Any:
    group = parser.add_argument_group("model")
    _add_choice(group, "model", None, names=["--arch", "-a"])
    group._group_actions[-1].dest = "arch"
    return group


def _add_group(parser: ArgumentParser, title: str, config: Any) -> Any:
    group = parser.add_argument_group(title)
    gen_parser_from_dataclass(group, config)
    return group


# ---- reading a command line


def parse_args_and_arch(
    parser: ArgumentParser,
    input_args: Optional[Sequence[str]] = None,
    parse_known: bool = False,
    suppress_defaults: bool = False,
    modify_parser: Optional[Callable[[ArgumentParser], None]] = None,
) -> Any:
    """Read a command line; flags of the chosen components are added on the way.

    Args:
        input_args: the words; default: those of this process.
        parse_known: return `(args, rest)` instead of raising for unknown flags.
        suppress_defaults: a namespace of only what was given, without any default.
        modify_parser: called with the parser before each pass.

    Raises:
        ConfigError: an unknown flag or component, or a value of a wrong type.
    """
    words = list(sys.argv[1:] if input_args is None else input_args)
    import_plugins(words)
    if modify_parser is not None:
        modify_parser(parser)
    first, _ = parser.parse_known_args([word for word in words if word not in ("-h", "--help")])
    help_requested = any(word in ("-h", "--help") for word in words)
    add_component_flags(parser, first, lenient=help_requested)
    if modify_parser is not None:
        modify_parser(parser)
    if help_requested:
        parser.print_help()
        raise SystemExit(0)

    rest: list[str] = []
    if parse_known:
        args, rest = parser.parse_known_args(words)
    else:
        args = parser.parse_args(words)
    if suppress_defaults:
        # the defaults themselves become None, so that a flag given with its default's value still counts
        parser.set_defaults(**dict.fromkeys(vars(args)))
        given = parser.parse_known_args(words)[0]
        return Namespace(**{key: value for key, value in vars(given).items() if value is not None})
    _fill_in(args)
    return (args, rest) if parse_known else args


def get_args(data: str, task: str = "translation", arch: str = "transformer", **overrides: Any) -> Namespace:
    """The namespace of a training command, with `overrides` by name."""
    parser = get_training_parser(task)
    args = parse_args_and_arch(parser, [str(data), "--task", task, "--arch", arch])
    for key, value in overrides.items():
        setattr(args, key, value)
    return args


def _fill_in(args: Namespace) -> None:
    """What one flag implies for another, and what a plugin's architecture fills in."""
    if "arch" in vars(args) and args.arch is None:
        raise ConfigError(f"no model is chosen; give --arch NAME: {', '.join(schema.components('model'))}")
    if "arch" in vars(args) and args.task not in schema.components("task"):
        raise ConfigError(f"no task is chosen; give --task NAME: {', '.join(schema.components('task'))}")
    if getattr(args, "batch_size_valid", 0) is None:
        args.batch_size_valid = args.batch_size
    if getattr(args, "max_tokens_valid", 0) is None:
        args.max_tokens_valid = args.max_tokens
    args.fp16 = args.fp16 or args.memory_efficient_fp16
    args.bf16 = args.bf16 or args.memory_efficient_bf16
    if args.fp16 and args.bf16:
        raise ConfigError("--fp16 and --bf16 exclude each other")
    if args.seed is None:
        args.seed = 1
        args.no_seed_provided = True
    else:
        args.no_seed_provided = False
    arch = getattr(args, "arch", None)
    if arch is not None and arch not in catalog.group("model"):
        from fairseq.models import ARCH_CONFIG_REGISTRY

        if arch in ARCH_CONFIG_REGISTRY:
            ARCH_CONFIG_REGISTRY[arch](args)


_FROM_UTILS = ("csv_str_list", "eval_bool", "eval_str_dict", "eval_str_list")


def __getattr__(name: str) -> Any:
    """Helpers that plugins import from here; they live in `fairseq.utils`, which imports torch."""
    if name in _FROM_UTILS:
        from fairseq import utils

        return getattr(utils, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FROM_UTILS])
