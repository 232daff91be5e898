"""`common_eval`, `eval_lm` and `interactive`: the commands that use a trained model.

>>> CommonEvalConfig().model_overrides
'{}'
"""

import sys
from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.ranges import at_least


@dataclass
class CommonEvalConfig(FairseqDataclass):
    """What all evaluating commands share."""

    path: Optional[str] = option(
        None, "checkpoint to evaluate; several ones, separated by colons, form an ensemble", path="in"
    )
    post_process: Optional[str] = option(
        None,
        "undo the subword split of outputs: subword_nmt, sentencepiece, letter ... or the marker to remove",
        const="subword_nmt",
        alias=["--remove-bpe"],
    )
    quiet: bool = option(False, "print only the final scores")
    model_overrides: str = option("{}", "Python dict of settings of the checkpoint's config to replace")
    integer_weights: bool = option(
        False,
        "keep the weights of a quantized checkpoint as integers only, to the same scores "
        "(always so with quantization.compute=integer, and for files of fairseq-quantize-checkpoint)",
    )
    results_path: Optional[str] = option(None, "folder for the results; default: standard output", path="out")


@dataclass
class EvalLMConfig(FairseqDataclass):
    """Scoring text with a language model."""

    output_word_probs: bool = option(False, "print each word's log probability")
    output_word_stats: bool = option(False, "print each word's count and mean log probability")
    context_window: int = option(0, "words of context that each window is given at least", within=at_least(0))
    softmax_batch: int = option(
        sys.maxsize, "positions whose probabilities are computed at once, to save memory", within=at_least(1)
    )


@dataclass
class InteractiveConfig(FairseqDataclass):
    """Generating from lines that are typed or piped."""

    buffer_size: int = option(0, "read this many lines before they are processed as a batch", within=at_least(0))
    input: str = option("-", "file to read from; - is standard input")
