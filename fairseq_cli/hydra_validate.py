"""fairseq-hydra-validate: evaluate a checkpoint with the YAML it was trained with.

    fairseq-hydra-validate --config-dir examples/roberta/config/finetuning --config-name rte \\
        task.data=RTE-bin common_eval.path=checkpoints/checkpoint_best.pt

The model is the checkpoint's; settings of `task` and `criterion` in the config replace those it was trained with.
"""

import sys
from collections.abc import Sequence
from typing import Any, Optional

from fairseq_cli.entry import command


def hydra_main(cfg: Any) -> Optional[float]:
    """Evaluate `common_eval.path`; returns `best_checkpoint_metric` on the first subset, for sweeps."""
    from fairseq.dataclass.finish import finish
    from fairseq.dataclass.utils import to_container
    from fairseq.distributed.utils import call_main
    from fairseq_cli import validate

    finish(cfg)
    overrides: dict[str, Any] = {}
    for group in (cfg.task, cfg.criterion):
        overrides.update({k: v for k, v in (to_container(group) or {}).items() if k != "_name" and v is not None})
    stats = call_main(cfg, validate.main, override_args=overrides)
    return stats[cfg.dataset.valid_subset.split(",")[0]].get(cfg.checkpoint.best_checkpoint_metric)


def _check(cfg: Any) -> None:
    from fairseq.dataclass.finish import check_complete

    check_complete(cfg, slots=("task",), within=("task", "common_eval"))


@command
def cli_main(argv: Optional[Sequence[str]] = None) -> None:
    from fairseq_cli.hydra_train import run

    run(hydra_main, sys.argv[1:] if argv is None else argv, "hydra_validate", check=_check)


if __name__ == "__main__":
    cli_main()
