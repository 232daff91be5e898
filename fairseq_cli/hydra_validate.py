"""fairseq-hydra-validate: evaluate a checkpoint with the YAML it was trained with.

    fairseq-hydra-validate --config-dir examples/roberta/config/finetuning --config-name rte \
        task.data=RTE-bin common_eval.path=checkpoints/checkpoint_best.pt
"""

from typing import Any


def main(cfg: Any) -> Any:
    """Evaluate `common_eval.path`; settings of `task` and `criterion` in `cfg` replace those of the checkpoint."""
    from omegaconf import OmegaConf

    from fairseq_cli import validate

    overrides: dict[str, Any] = {}
    for group in (cfg.task, cfg.criterion):
        values = OmegaConf.to_container(group, resolve=True, enum_to_str=True) if group is not None else {}
        overrides.update({key: value for key, value in values.items() if key != "_name" and value is not None})
    return validate.main(cfg, overrides)
