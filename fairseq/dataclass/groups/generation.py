"""`generation`: beam search, sampling and what is printed about the results.

>>> GenerationConfig().beam
5
"""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.constants import (
    GENERATION_CONSTRAINTS_CHOICES,
    GENERATION_DECODING_FORMAT_CHOICES,
    PRINT_ALIGNMENT_CHOICES,
)


@dataclass
class GenerationConfig(FairseqDataclass):
    """How sequences are generated."""

    # search
    beam: int = option(5, "hypotheses that are followed at the same time")
    beam_mt: int = option(0, "beam of the first pass of a two-pass model")
    nbest: int = option(1, "hypotheses to print per sentence")
    max_len_a: float = option(0, "longest output: max_len_a * source length + max_len_b")
    max_len_b: int = option(200, "longest output: max_len_a * source length + max_len_b")
    max_len_a_mt: float = option(0, "as max_len_a, for the first pass of a two-pass model")
    max_len_b_mt: int = option(200, "as max_len_b, for the first pass of a two-pass model")
    min_len: int = option(1, "shortest output")
    match_source_len: bool = option(False, "outputs are as long as their sources")
    unnormalized: bool = option(False, "compare hypotheses by their sum of log probabilities, not by the mean")
    no_early_stop: bool = option(False, "deprecated and without effect")
    no_beamable_mm: bool = option(False, "deprecated and without effect")
    lenpen: float = option(1, "length penalty: below 1 favours short outputs, above 1 long ones")
    lenpen_mt: float = option(1, "length penalty of the first pass of a two-pass model")
    unkpen: float = option(0, "penalty for unknown words; a negative one makes them more likely")
    replace_unk: Optional[str] = option(
        None, "replace unknown words by source words, through this alignment dictionary where given", const="@@ "
    )
    sacrebleu: bool = option(False, "kept for old commands; choose the scorer with scoring=sacrebleu")
    score_reference: bool = option(False, "score the reference instead of generating")
    prefix_size: int = option(0, "start each output with this many words of the reference")
    no_repeat_ngram_size: int = option(0, "no n-gram of this length occurs twice in an output (0: no limit)")

    # sampling
    sampling: bool = option(False, "sample instead of searching")
    sampling_topk: int = option(-1, "sample from this many likeliest words (-1: from all)")
    sampling_topp: float = option(-1.0, "sample from the likeliest words that hold this probability mass (-1: all)")
    constraints: Optional[GENERATION_CONSTRAINTS_CHOICES] = option(
        None, "force the phrases behind each source line into the output, in order or not", const="ordered"
    )
    temperature: float = option(1.0, "above 1 flattens the distribution, below 1 sharpens it")
    diverse_beam_groups: int = option(-1, "groups of diverse beam search (-1: plain beam search)")
    diverse_beam_strength: float = option(0.5, "penalty for words that other groups have chosen")
    diversity_rate: float = option(-1.0, "penalty by rank among the successors of one hypothesis (-1: none)")

    # what is printed
    print_alignment: Optional[PRINT_ALIGNMENT_CHOICES] = option(
        None, "print the attention between source and output as word pairs or as weights", const="hard"
    )
    print_step: bool = option(False, "print how many steps the output took")

    # a language model beside the model
    lm_path: Optional[str] = option(None, "checkpoint of a language model whose scores are added", path="in")
    lm_weight: float = option(0.0, "weight of the language model's scores")

    # models that refine their output
    iter_decode_eos_penalty: float = option(0.0, "penalty for ending early")
    iter_decode_max_iter: int = option(10, "refinement steps at most")
    iter_decode_force_max_iter: bool = option(False, "always take all refinement steps")
    iter_decode_with_beam: int = option(1, "output lengths that are tried")
    iter_decode_with_external_reranker: bool = option(False, "the last of several checkpoints ranks the outputs")
    retain_iter_history: bool = option(False, "return the outputs of all refinement steps")
    retain_dropout: bool = option(False, "keep dropout on while generating")
    retain_dropout_modules: Any = option(None, "names of the modules that keep dropout; default: all")
    decoding_format: Optional[GENERATION_DECODING_FORMAT_CHOICES] = option(
        None, "decoding of non-autoregressive models"
    )
    no_seed_provided: bool = option(False, "set by the command where no seed was given")
    eos_token: Optional[str] = option(None, "word that ends an output; default: the dictionary's end of sentence")
