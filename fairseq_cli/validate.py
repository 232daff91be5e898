"""fairseq-validate: evaluate checkpoints on the subsets of a data folder.

    fairseq-validate RTE-bin --path checkpoints/checkpoint_best.pt --valid-subset valid

The task, model and criterion come from the checkpoint; flags that are given override what it was trained with. The
same evaluation, configured by YAML and dotted overrides, is `fairseq-hydra-validate`.
"""

import logging
from argparse import Namespace
from typing import Any, Optional

from fairseq_cli.entry import command
from fairseq_cli.train import setup_logging

logger = logging.getLogger("fairseq_cli.validate")


def main(cfg: Any, override_args: Optional[Any] = None) -> dict[str, dict[str, Any]]:
    """Evaluate `common_eval.path` on each subset of `dataset.valid_subset`; returns subset -> stats."""
    from fairseq.allocator import keep_freed_memory
    from fairseq.plugins import import_user_module
    from fairseq.training.console import short_lines
    from fairseq.training.evaluation import evaluate, load_for_evaluation

    keep_freed_memory()
    import_user_module(cfg.common)
    overrides = vars(override_args) if isinstance(override_args, Namespace) else override_args
    with short_lines(cfg):
        evaluation = load_for_evaluation(cfg, overrides)
        return {subset: evaluate(evaluation, subset) for subset in cfg.dataset.valid_subset.split(",")}


@command
def cli_main() -> None:
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    parser = options.get_validation_parser()
    args = options.parse_args_and_arch(parser)
    # parsed again without defaults: only the flags on the command line override the checkpoint's own settings
    given = options.parse_args_and_arch(options.get_validation_parser(), suppress_defaults=True)
    setup_logging()
    from fairseq.distributed.utils import call_main

    call_main(convert_namespace_to_omegaconf(args), main, override_args=given)


if __name__ == "__main__":
    cli_main()
