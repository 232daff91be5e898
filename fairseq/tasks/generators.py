"""The generator that settings ask for: `task.build_generator(models, cfg.generation)`.

    generator = build_generator(task.target_dictionary, models, Namespace(beam=4, lenpen=0.6))

At most one of these steers the search: sampling, diverse beams, diverse siblings, the source's length, constraints,
allowed tokens.
"""

from collections.abc import Callable
from typing import Any, Optional, cast

from fairseq.dataclass import schema
from fairseq.dataclass.groups.generation import GenerationConfig
from fairseq.errors import ConfigError

_REFINES = (
    "iter_decode_eos_penalty",
    "iter_decode_max_iter",
    "iter_decode_force_max_iter",
    "iter_decode_with_beam",
    "iter_decode_with_external_reranker",
    "retain_iter_history",
)
# beam and lengths are left alone: commands that serve both kinds of models give them
_SEARCHES = (
    "nbest",
    "sampling",
    "diverse_beam_groups",
    "diversity_rate",
    "match_source_len",
    "constraints",
    "prefix_size",
    "no_repeat_ngram_size",
    "score_reference",
    "temperature",
    "lenpen",
    "unkpen",
    "unnormalized",
    "lm_path",
    "print_alignment",
    "replace_unk",
)
_DEFAULTS = {key: schema.default_of(declared) for key, declared in schema.keys_of(GenerationConfig).items()}


def build_generator(
    tgt_dict: Any,
    models: list[Any],
    args: Any,
    seq_gen_cls: Optional[Callable[..., Any]] = None,
    extra_gen_cls_kwargs: Optional[dict[str, Any]] = None,
    prefix_allowed_tokens_fn: Optional[Callable[..., Any]] = None,
) -> Any:
    """A `SequenceGenerator`, or with `score_reference` a `SequenceScorer`.

    Args:
        args: a `generation` config node, or a namespace with some of its fields; the others have their defaults.
        seq_gen_cls: build this instead.
        extra_gen_cls_kwargs: further arguments for it, `{"lm_model": model, "lm_weight": 0.3}`.
        prefix_allowed_tokens_fn: `(sentence, tokens)` -> the ids that may follow.

    Raises:
        ConfigError: settings that exclude each other.
    """
    setting = _reader(args)
    for model in models:
        if hasattr(type(model), "initialize_output_tokens"):
            raise ConfigError(f"{type(model).__name__} refines whole sentences: generate with --task translation_lev")
    _refuse(setting, _REFINES, "only models that refine whole sentences read it (--task translation_lev)")
    if setting("score_reference"):
        from fairseq.sequence_scorer import SequenceScorer

        return SequenceScorer(tgt_dict, compute_alignment=setting("print_alignment") or False)
    strategy = choose_search(tgt_dict, args, prefix_allowed_tokens_fn)
    kwargs = dict(extra_gen_cls_kwargs or {})
    if seq_gen_cls is None:
        from fairseq import sequence_generator

        name = "SequenceGenerator"
        if setting("print_alignment"):
            name = "SequenceGeneratorWithAlignment"
            kwargs["print_alignment"] = str(setting("print_alignment"))
        seq_gen_cls = getattr(sequence_generator, name)
    return seq_gen_cls(
        models,
        tgt_dict,
        beam_size=setting("beam"),
        max_len_a=setting("max_len_a"),
        max_len_b=setting("max_len_b"),
        min_len=setting("min_len"),
        normalize_scores=not setting("unnormalized"),
        len_penalty=setting("lenpen"),
        unk_penalty=setting("unkpen"),
        temperature=setting("temperature"),
        match_source_len=setting("match_source_len"),
        no_repeat_ngram_size=setting("no_repeat_ngram_size"),
        search_strategy=strategy,
        **kwargs,
    )


def build_refinement_generator(tgt_dict: Any, args: Any) -> Any:
    """An `IterativeRefinementGenerator` with the settings `iter_decode_...`.

    Args:
        args: as for `build_generator`.

    Raises:
        ConfigError: settings of a search, which these models do not have.
    """
    from fairseq.iterative_refinement_generator import IterativeRefinementGenerator

    setting = _reader(args)
    _refuse(setting, _SEARCHES, "models that refine whole sentences have no search")
    return IterativeRefinementGenerator(
        tgt_dict,
        eos_penalty=setting("iter_decode_eos_penalty"),
        max_iter=setting("iter_decode_max_iter"),
        beam_size=setting("iter_decode_with_beam"),
        reranking=setting("iter_decode_with_external_reranker"),
        decoding_format=setting("decoding_format"),
        adaptive=not setting("iter_decode_force_max_iter"),
        retain_history=setting("retain_iter_history"),
        retain_dropout=setting("retain_dropout"),
    )


def _refuse(setting: Callable[[str], Any], names: tuple[str, ...], reason: str) -> None:
    """Raise ConfigError where one of the settings is not at its default."""
    for name in names:
        if setting(name) != _DEFAULTS[name]:
            raise ConfigError(f"generation.{name}={setting(name)} has no effect: {reason}; leave it out")


def choose_search(tgt_dict: Any, args: Any, prefix_allowed_tokens_fn: Optional[Callable[..., Any]] = None) -> Any:
    """The strategy that `args` ask for, see `build_generator`; beam search where they ask for none."""
    from fairseq import search

    setting = _reader(args)
    top_k, top_p = setting("sampling_topk"), setting("sampling_topp")
    strategies: dict[str, Callable[[], Any]] = {
        "sampling": lambda: search.Sampling(tgt_dict, top_k, top_p),
        "diverse_beam_groups": lambda: search.DiverseBeamSearch(
            tgt_dict, num_groups=setting("diverse_beam_groups"), diversity_strength=setting("diverse_beam_strength")
        ),
        "match_source_len": lambda: search.LengthConstrainedBeamSearch(
            tgt_dict, min_len_a=1, min_len_b=0, max_len_a=1, max_len_b=0
        ),
        "diversity_rate": lambda: search.DiverseSiblingsSearch(tgt_dict, setting("diversity_rate")),
        "constraints": lambda: search.LexicallyConstrainedBeamSearch(tgt_dict, str(setting("constraints"))),
        "prefix_allowed_tokens_fn": lambda: search.PrefixConstrainedBeamSearch(
            tgt_dict, cast(Callable[..., Any], prefix_allowed_tokens_fn)
        ),
    }
    asked = {
        "sampling": setting("sampling"),
        "diverse_beam_groups": setting("diverse_beam_groups") > 0,
        "match_source_len": setting("match_source_len"),
        "diversity_rate": setting("diversity_rate") > -1,
        "constraints": setting("constraints") is not None,
        "prefix_allowed_tokens_fn": prefix_allowed_tokens_fn is not None,
    }
    chosen = [name for name, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise ConfigError(f"generation: {', '.join(chosen)} exclude each other; give one of them")
    if not setting("sampling"):
        for name, value in (("sampling_topk", top_k), ("sampling_topp", top_p)):
            if value > 0:
                raise ConfigError(f"generation.{name}={value} has no effect without generation.sampling (--sampling)")
    return strategies[chosen[0]]() if chosen else search.BeamSearch(tgt_dict)


def _reader(args: Any) -> Callable[[str], Any]:
    """Reads a setting of `args`, or its default where a namespace lacks it."""
    return lambda name: getattr(args, name, _DEFAULTS[name])
