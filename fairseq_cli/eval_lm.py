"""fairseq-eval-lm: how well a language model predicts a text.

    fairseq-eval-lm wikitext-bin --path checkpoints/checkpoint_best.pt --gen-subset test --tokens-per-sample 512

Prints loss (base 2) and perplexity. `--context-window N` gives each block the N tokens before it, `--remove-bpe` counts
words instead of pieces, `--output-word-probs` and `--output-word-stats` say what each word costs.
"""

import logging
from typing import TYPE_CHECKING, Any

from fairseq_cli.entry import command
from fairseq_cli.train import setup_logging

if TYPE_CHECKING:
    from fairseq.generation.language_model_scores import WordStat, eval_lm

__all__ = ["WordStat", "cli_main", "eval_lm", "main"]

logger = logging.getLogger("fairseq_cli.eval_lm")


def main(cfg: Any, **unused_kwargs: Any) -> dict[str, float]:
    """Score `dataset.gen_subset` with the models of `common_eval.path`; returns loss (base 2) and perplexity."""
    from fairseq.allocator import keep_freed_memory
    from fairseq.plugins import import_user_module
    from fairseq.training.language_model_evaluation import evaluate_language_model

    keep_freed_memory()
    import_user_module(cfg.common)
    stats = evaluate_language_model(cfg)
    logger.info(f"Loss (base 2): {stats['loss']:.4f}, Perplexity: {stats['perplexity']:.2f}")
    return stats


@command
def cli_main() -> None:
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.distributed.utils import call_main

    setup_logging()
    args = options.parse_args_and_arch(options.get_eval_lm_parser())
    call_main(convert_namespace_to_omegaconf(args), main)


def __getattr__(name: str) -> Any:
    """`eval_lm` and `WordStat`, which fairseq users import from here, without torch at the start of the command."""
    if name in ("WordStat", "eval_lm"):
        from fairseq.generation import language_model_scores

        return getattr(language_model_scores, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    cli_main()
