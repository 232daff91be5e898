"""BLEU of text that is generated while training: `task.eval_bleu`.

Each batch logs the counts that BLEU is made of, which add up over batches and processes; the corpus' BLEU follows from
their sums (Papineni et al. 2002; n-gram lengths without a match are smoothed as sacreBLEU does, `exp`).

>>> logged = statistics(score(["a b c d e"], ["a b c d f"]))
>>> logged["_bleu_counts_0"], logged["_bleu_totals_0"], logged["_bleu_sys_len"]
(4, 5, 5)
"""

import json
from typing import Any, Optional

import numpy as np
from omegaconf import DictConfig

from fairseq.data import encoders
from fairseq.dataclass.groups.generation import GenerationConfig
from fairseq.dataclass.typed import typed_node
from fairseq.errors import ConfigError
from fairseq.logging import metrics

ORDER = 4

# what unknown words become: not the same on the two sides, so that they never match
UNKNOWN_IN_OUTPUT, UNKNOWN_IN_REFERENCE = "UNKNOWNTOKENINHYP", "UNKNOWNTOKENINREF"


def settings(text: Optional[str], key: str) -> dict[str, Any]:
    """The JSON object in the task's setting `key`, whose value is `text`.

    Raises:
        ConfigError: it is something else.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f'task.{key}={text!r} is not JSON such as {{"beam": 4}}: {error}') from None
    if not isinstance(found, dict):
        raise ConfigError(f'task.{key}={text!r} is not a JSON object such as {{"beam": 4}}')
    return found


def generation_args(cfg: Any) -> DictConfig:
    """The `generation` config that `task.eval_bleu_args` describes."""
    return typed_node(GenerationConfig, settings(cfg.eval_bleu_args, "eval_bleu_args"), where="task.eval_bleu_args")


def detokenizer(cfg: Any) -> Any:
    """The tokenizer whose `decode` joins words to text, as `task.eval_bleu_detok` says."""
    chosen = settings(cfg.eval_bleu_detok_args, "eval_bleu_detok_args")
    return encoders.build_tokenizer({**chosen, "_name": cfg.eval_bleu_detok})


def score(outputs: list[str], references: list[str], tokenized: bool = False) -> Any:
    """sacreBLEU's `BLEUScore`; `tokenized`: words are as they are, without a tokenizer of sacreBLEU's."""
    import sacrebleu

    return sacrebleu.corpus_bleu(outputs, [references], **({"tokenize": "none", "force": True} if tokenized else {}))


def statistics(bleu: Any) -> dict[str, Any]:
    """The counts in a `BLEUScore`, as a criterion's logging output holds them."""
    counts = {f"_bleu_counts_{n}": bleu.counts[n] for n in range(ORDER)}
    totals = {f"_bleu_totals_{n}": bleu.totals[n] for n in range(ORDER)}
    return {"_bleu_sys_len": bleu.sys_len, "_bleu_ref_len": bleu.ref_len, **counts, **totals}


def log(logging_outputs: list[dict[str, Any]]) -> None:
    """Log `bleu` of all outputs together, rounded to two places; nothing where there is no text."""

    def total(key: str) -> int:
        return int(sum(output.get(key, 0) for output in logging_outputs))

    counts, totals = ([total(f"_bleu_{name}_{n}") for n in range(ORDER)] for name in ("counts", "totals"))
    if max(totals) == 0:
        return
    metrics.log_scalar("_bleu_counts", np.array(counts))
    metrics.log_scalar("_bleu_totals", np.array(totals))
    metrics.log_scalar("_bleu_sys_len", total("_bleu_sys_len"))
    metrics.log_scalar("_bleu_ref_len", total("_bleu_ref_len"))
    metrics.log_derived("bleu", _bleu)


def _bleu(meters: Any) -> float:
    import sacrebleu

    sums = {key: meters[f"_bleu_{key}"].sum for key in ("counts", "totals", "sys_len", "ref_len")}
    bleu = sacrebleu.BLEU.compute_bleu(
        correct=[int(count) for count in sums["counts"]],
        total=[int(count) for count in sums["totals"]],
        sys_len=int(sums["sys_len"]),
        ref_len=int(sums["ref_len"]),
        smooth_method="exp",
    )
    return round(bleu.score, 2)
