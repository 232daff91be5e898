"""fairseq-validate: evaluate checkpoints on the subsets of a data folder.

    fairseq-validate RTE-bin --path checkpoints/checkpoint_best.pt --valid-subset valid
    fairseq-validate RTE-bin --path fp32.pt --quantization int8      # in full precision: as it would be quantized

The task, model and criterion come from the checkpoint; flags that are given override what it was trained with. The
same evaluation, configured by YAML and dotted overrides, is `fairseq-hydra-validate`.
"""

import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, Optional

from fairseq_cli.entry import command
from fairseq_cli.train import setup_logging

logger = logging.getLogger("fairseq_cli.validate")


def main(cfg: Any, override_args: Optional[Any] = None) -> dict[str, dict[str, Any]]:
    """Evaluate `common_eval.path` on each subset of `dataset.valid_subset`; returns subset -> stats."""
    from fairseq.allocator import keep_freed_memory
    from fairseq.dataclass.utils import as_config
    from fairseq.plugins import import_user_module
    from fairseq.training.console import short_lines
    from fairseq.training.evaluation import evaluate, load_for_evaluation

    keep_freed_memory()
    cfg = as_config(cfg)
    import_user_module(cfg.common)
    overrides = vars(override_args) if isinstance(override_args, Namespace) else override_args
    with short_lines(cfg):
        evaluation = load_for_evaluation(cfg, overrides)
        return {subset: evaluate(evaluation, subset) for subset in cfg.dataset.valid_subset.split(",")}


def _task_of(words: Sequence[str]) -> Optional[str]:
    """The task whose flags the command line has: the checkpoint's, where --task does not name one."""
    from fairseq import options

    known, _ = options.get_validation_parser().parse_known_args(
        [word for word in words if word not in ("-h", "--help")]
    )
    if known.task is not None or known.path is None:
        return known.task
    from fairseq import utils
    from fairseq.checkpoint.contents import read_outline

    cfg = read_outline(utils.split_paths(known.path)[0])["cfg"]
    return None if cfg is None or cfg.get("task") is None else cfg.task._name


@command
def cli_main() -> None:
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    setup_logging()
    task = _task_of(sys.argv[1:])
    args = options.parse_args_and_arch(options.get_validation_parser(task))
    # parsed again without defaults: only the flags on the command line override the checkpoint's own settings
    given = options.parse_args_and_arch(options.get_validation_parser(task), suppress_defaults=True)
    for action in options.add_quantization_args(ArgumentParser())._group_actions:
        vars(given).pop(action.dest, None)  # is for checkpoints in full precision, and overrides nothing
    from fairseq.distributed.utils import call_main

    call_main(convert_namespace_to_omegaconf(args), main, override_args=given)


if __name__ == "__main__":
    cli_main()
