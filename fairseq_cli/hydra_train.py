"""fairseq-hydra-train: train a model that YAML files and dotted overrides describe.

    fairseq-hydra-train --config-dir examples/roberta/config/finetuning --config-name rte \\
        task.data=RTE-bin checkpoint.restore_file=roberta.base/model.pt optimization.max_epoch=3
    fairseq-hydra-train -m --config-dir ... --config-name rte task.data=RTE-bin common.seed=1,2,3
    fairseq-hydra-train -h --config-dir ... --config-name rte       # every key that this run has

Each job's best value of `checkpoint.best_checkpoint_metric` goes to the sweeper, so that searches (Optuna, ...) work.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any, Optional

from fairseq_cli.entry import command

logger = logging.getLogger("fairseq_cli.hydra_train")


def hydra_main(cfg: Any) -> Optional[float]:
    """Train as the composed `cfg` says; returns the best validation score, None if there is none."""
    from fairseq.dataclass.initialize import finish
    from fairseq.distributed import utils as distributed_utils
    from fairseq_cli import train

    finish(cfg)
    if cfg.common.reset_logging:
        logging.getLogger().handlers.clear()
        train.setup_logging()
    try:
        return distributed_utils.call_main(cfg, train.main)
    except Exception as error:
        if not cfg.common.suppress_crashes:
            raise
        logger.error(f"Crashed! {error}", exc_info=True)
        return None


def run(function: Any, argv: Sequence[str], program: str, **settings: Any) -> Any:
    """What the commands under Hydra share: `-h`, options, one job or a sweep of `function(cfg)`."""
    from fairseq.dataclass.compose.arguments import parse

    args = parse(argv)
    if args.help:
        from fairseq.dataclass.compose.help import show

        return show(args, f"fairseq-{program.replace('_', '-')}")
    from fairseq.dataclass.compose import runner

    return runner.run(function, args, program, **settings)


@command
def cli_main(argv: Optional[Sequence[str]] = None) -> None:
    run(hydra_main, sys.argv[1:] if argv is None else argv, "hydra_train")


if __name__ == "__main__":
    cli_main()
