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
from fairseq.dataclass.ranges import above, any_number, at_least, between


@dataclass
class GenerationConfig(FairseqDataclass):
    """How sequences are generated."""

    # search
    beam: int = option(5, "hypotheses that are followed at the same time", within=at_least(1))
    beam_mt: int = option(0, "beam of the first pass of a two-pass model", within=at_least(0))
    nbest: int = option(1, "hypotheses to print per sentence", within=at_least(1))
    max_len_a: float = option(0, "longest output: max_len_a * source length + max_len_b", within=at_least(0))
    max_len_b: int = option(200, "longest output: max_len_a * source length + max_len_b", within=at_least(0))
    max_len_a_mt: float = option(0, "as max_len_a, for the first pass of a two-pass model", within=at_least(0))
    max_len_b_mt: int = option(200, "as max_len_b, for the first pass of a two-pass model", within=at_least(0))
    min_len: int = option(1, "shortest output", within=at_least(0))
    match_source_len: bool = option(False, "outputs are as long as their sources")
    unnormalized: bool = option(False, "compare hypotheses by their sum of log probabilities, not by the mean")
    no_early_stop: bool = option(False, "deprecated and without effect")
    no_beamable_mm: bool = option(False, "deprecated and without effect")
    lenpen: float = option(1, "length penalty: below 1 favours short outputs, above 1 long ones", within=any_number())
    lenpen_mt: float = option(1, "length penalty of the first pass of a two-pass model", within=any_number())
    unkpen: float = option(0, "penalty for unknown words; a negative one makes them more likely", within=any_number())
    replace_unk: Optional[str] = option(
        None, "replace unknown words by source words, through this alignment dictionary where given", const="@@ "
    )
    sacrebleu: bool = option(False, "kept for old commands; choose the scorer with scoring=sacrebleu")
    score_reference: bool = option(False, "score the reference instead of generating")
    prefix_size: int = option(0, "start each output with this many words of the reference", within=at_least(0))
    no_repeat_ngram_size: int = option(
        0, "no n-gram of this length occurs twice in an output (0: no limit)", within=at_least(0)
    )

    # sampling
    sampling: bool = option(False, "sample instead of searching")
    sampling_topk: int = option(-1, "sample from this many likeliest words (-1: from all)", within=at_least(1, also=-1))
    sampling_topp: float = option(
        -1.0, "sample from the likeliest words that hold this probability mass (-1: all)", within=between(0, 1, also=-1)
    )
    constraints: Optional[GENERATION_CONSTRAINTS_CHOICES] = option(
        None, "force the phrases behind each source line into the output, in order or not", const="ordered"
    )
    temperature: float = option(1.0, "above 1 flattens the distribution, below 1 sharpens it", within=above(0))
    diverse_beam_groups: int = option(
        -1, "groups of diverse beam search (-1: plain beam search)", within=at_least(0, also=-1)
    )
    diverse_beam_strength: float = option(0.5, "penalty for words that other groups have chosen", within=any_number())
    diversity_rate: float = option(
        -1.0, "penalty by rank among the successors of one hypothesis (-1: none)", within=any_number()
    )

    # what is printed
    print_alignment: Optional[PRINT_ALIGNMENT_CHOICES] = option(
        None, "print the attention between source and output as word pairs or as weights", const="hard"
    )
    print_step: bool = option(False, "print how many steps the output took")

    # a language model next to the model
    lm_path: Optional[str] = option(None, "checkpoint of a language model whose scores are added", path="in")
    lm_weight: float = option(0.0, "weight of the language model's scores", within=any_number())

    # models that refine their output
    iter_decode_eos_penalty: float = option(0.0, "penalty for ending early", within=any_number())
    iter_decode_max_iter: int = option(10, "refinement steps at most", within=at_least(0))
    iter_decode_force_max_iter: bool = option(False, "always take all refinement steps")
    iter_decode_with_beam: int = option(1, "output lengths that are tried", within=at_least(1))
    iter_decode_with_external_reranker: bool = option(False, "the last of several checkpoints ranks the outputs")
    retain_iter_history: bool = option(False, "return the outputs of all refinement steps")
    retain_dropout: bool = option(False, "keep dropout on while generating")
    retain_dropout_modules: Any = option(None, "names of the modules that keep dropout; default: all")
    decoding_format: Optional[GENERATION_DECODING_FORMAT_CHOICES] = option(
        None, "decoding of non-autoregressive models"
    )
    no_seed_provided: bool = option(False, "set by the command where no seed was given")
    eos_token: Optional[str] = option(None, "word that ends an output; default: the dictionary's end of sentence")
