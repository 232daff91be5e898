"""What `fairseq-generate` and `fairseq-interactive` share: models and generator from settings, text in and out, and the
lines that tell of a hypothesis. Scores are printed in base 2.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.errors import ConfigError


@dataclass
class Generation:
    """All that turns a batch into text.

    Attributes:
        lm: a language model beside the models, None without one.
        encode, decode: text to symbols and back, by tokenizer and byte-pair encoding.
        align_dict: what replaces unknown words, None to leave them.
        max_positions: the longest input of task and models.
    """

    cfg: Any
    task: Any
    models: list[Any]
    generator: Any
    precision: Any
    encode: Callable[[str], str]
    decode: Callable[[str], str]
    align_dict: Optional[dict[str, str]]
    max_positions: Any


def check_settings(cfg: Any) -> None:
    """Raise ConfigError where settings of a command that generates contradict each other."""
    generation = cfg.generation
    if not cfg.common_eval.path:
        raise ConfigError("no checkpoint to generate with: give --path FILE (common_eval.path)")
    if generation.sampling and generation.nbest != generation.beam:
        raise ConfigError(
            f"--sampling draws --beam hypotheses: set --nbest {generation.beam} as well, not {generation.nbest}"
        )
    if generation.nbest > generation.beam:
        raise ConfigError(f"--nbest {generation.nbest} is more than the {generation.beam} hypotheses of --beam")
    if generation.replace_unk is not None and generation.print_alignment is None:
        raise ConfigError("--replace-unk needs to know which words belong together: add --print-alignment")
    if str(generation.print_alignment) == "soft" and generation.replace_unk is not None:
        raise ConfigError("--replace-unk needs pairs of words: give --print-alignment hard instead of soft")


def seed(cfg: Any) -> None:
    """Seed NumPy and torch where the user gave a seed."""
    if cfg.common.seed is not None and not cfg.generation.no_seed_provided:
        import numpy as np
        import torch

        np.random.seed(cfg.common.seed)
        torch.manual_seed(cfg.common.seed)


def load(cfg: Any, task: Any, logger: Any) -> Generation:
    """Models, generator and all around them, as `cfg` says.

    Args:
        task: the task that generates; None: that of the checkpoint.
        logger: of the command.
    """
    from fairseq import utils
    from fairseq.generation.text import load_align_dict
    from fairseq.training.evaluation import load_models

    models, _, task, precision = load_models(cfg, task=task, log=logger)
    for model in models:
        model.prepare_for_inference_(cfg)
    kwargs = {}
    if cfg.generation.lm_path is not None:
        kwargs = {"lm_model": _language_model(cfg, task, precision), "lm_weight": cfg.generation.lm_weight}
    generator = task.build_generator(models, cfg.generation, extra_gen_cls_kwargs=kwargs)
    tokenizer, bpe = task.build_tokenizer(cfg.tokenizer), task.build_bpe(cfg.bpe)
    coders = [coder for coder in (tokenizer, bpe) if coder is not None]

    def encode(text: str) -> str:
        for coder in coders:
            text = coder.encode(text)
        return text

    def decode(text: str) -> str:
        for coder in reversed(coders):
            text = coder.decode(text)
        return text

    limits = [model.max_positions() for model in models]
    return Generation(
        cfg=cfg,
        task=task,
        models=models,
        generator=generator,
        precision=precision,
        encode=encode,
        decode=decode,
        align_dict=load_align_dict(cfg.generation.replace_unk),
        max_positions=utils.resolve_max_positions(task.max_positions(), *limits),
    )


def _language_model(cfg: Any, task: Any, precision: Any) -> Any:
    from fairseq import checkpoint_utils
    from fairseq.tasks.dictionaries import difference

    overrides = {"data": cfg.task.data} if cfg.task.data else {}
    models, _, lm_task = checkpoint_utils.load_model_ensemble_and_task([cfg.generation.lm_path], overrides)
    found = difference(task.target_dictionary, lm_task.target_dictionary)
    if found is not None:
        raise ConfigError(
            f"--lm-path {cfg.generation.lm_path}: its dictionary is not that of the targets: {found}; "
            "train the language model with the same dictionary"
        )
    model = models[0].to(precision.device).eval()
    model.prepare_for_inference_(cfg)
    return model


def get_symbols_to_strip_from_output(generator: Any) -> Any:
    """Ids that are no text: the end of a sentence, and what the generator adds to it."""
    if hasattr(generator, "symbols_to_strip_from_output"):
        return generator.symbols_to_strip_from_output
    return {generator.eos}


def in_base_2(value: Any) -> Any:
    return value / math.log(2)


def hypothesis_lines(
    loaded: Generation, sentence: Any, hypothesis: dict[str, Any], text: str, alignment: Any
) -> Iterator[str]:
    """The lines that begin with H-, D-, P-, A-, I- and E-.

    Args:
        sentence: its number.
        text: of the hypothesis, as symbols.
        alignment: pairs of words, or weights.
    """
    generation = loaded.cfg.generation
    score = in_base_2(hypothesis["score"])
    yield f"H-{sentence}\t{score}\t{text}"
    yield f"D-{sentence}\t{score}\t{loaded.decode(text)}"
    probabilities = in_base_2(hypothesis["positional_scores"]).tolist()
    yield f"P-{sentence}\t" + " ".join(f"{value:.4f}" for value in probabilities)
    if generation.print_alignment == "hard":
        yield f"A-{sentence}\t" + " ".join(f"{source}-{target}" for source, target in alignment)
    elif generation.print_alignment == "soft":
        yield f"A-{sentence}\t" + " ".join(",".join(weights) for weights in alignment)
    if generation.print_step:  # a decoder takes one step for each token
        yield f"I-{sentence}\t{hypothesis.get('steps', len(hypothesis['tokens']))}"
    for step, written in enumerate(hypothesis.get("history", ())):
        yield f"E-{sentence}_{step}\t{_symbols(loaded, written['tokens'])}"


def _symbols(loaded: Generation, tokens: Any) -> str:
    words = loaded.task.target_dictionary.string(tokens.int().cpu(), loaded.cfg.common_eval.post_process)
    return str(words)
