"""Models that generate, for interactive use: text in, text or scores out.

lm = TransformerLanguageModel.from_pretrained("checkpoints", "checkpoint_best.pt", "wikitext-bin")
lm.sample("The meaning of life is", beam=5, max_len_b=20)
lm.score("The meaning of life is subtle")["positional_scores"].mean().neg().exp()         # perplexity
"""

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any, Optional, Union

import torch
from omegaconf import open_dict
from torch import Tensor, nn

from fairseq import utils
from fairseq.data import encoders
from fairseq.dataclass import schema
from fairseq.dataclass.groups.generation import GenerationConfig
from fairseq.errors import ConfigError, unknown

logger = logging.getLogger("fairseq.hub_utils")

Hypothesis = dict[str, Any]


class GeneratorHubInterface(nn.Module):
    """An ensemble with its task, tokenizer and subword encoding.

    Args:
        cfg: the root config that the models were loaded with.
        task: theirs.
        models: of one kind; their probabilities are averaged.
    """

    _float_tensor: Tensor

    def __init__(self, cfg: Any, task: Any, models: list[Any]):
        super().__init__()
        self.cfg, self.task = cfg, task
        self.models = nn.ModuleList(models)
        self.src_dict, self.tgt_dict = task.source_dictionary, task.target_dictionary
        for model in self.models:
            model.prepare_for_inference_(cfg)  # type: ignore[operator]
        self.tokenizer = encoders.build_tokenizer(cfg.tokenizer)
        self.bpe = encoders.build_bpe(cfg.bpe)
        self.max_positions = utils.resolve_max_positions(
            task.max_positions(),
            *[model.max_positions() for model in self.models],  # type: ignore[operator]
        )
        self.register_buffer("_float_tensor", torch.tensor([0], dtype=torch.float))  # lives where the models live

    @property
    def device(self) -> torch.device:
        return self._float_tensor.device

    # --- sentences --------------------------------------------------------------------------------------------------

    def translate(
        self, sentences: Union[str, list[str]], beam: int = 5, verbose: bool = False, **kwargs: Any
    ) -> Union[str, list[str]]:
        """`sample` by beam search."""
        return self.sample(sentences, beam, verbose, **kwargs)

    def sample(
        self, sentences: Union[str, list[str]], beam: int = 1, verbose: bool = False, **kwargs: Any
    ) -> Union[str, list[str]]:
        """The best output for a sentence, or for each of several; a language model's begins with the sentence.

        Args:
            verbose: log what is printed by `fairseq-generate`.
            kwargs: settings of `generation`, such as `sampling=True, sampling_topk=10, max_len_b=50`.
        """
        if isinstance(sentences, str):
            return self.sample([sentences], beam=beam, verbose=verbose, **kwargs)[0]
        tokens = [self.encode(sentence) for sentence in sentences]
        found: list[list[Hypothesis]] = self.generate(tokens, beam, verbose, **kwargs)  # type: ignore[assignment]
        return [self.decode(hypotheses[0]["tokens"]) for hypotheses in found]

    def score(
        self, sentences: Union[str, list[str]], replace_newline_with_eos: bool = False, **kwargs: Any
    ) -> Union[Hypothesis, list[Hypothesis]]:
        """Log-probabilities of a sentence, or of each of several, as a hypothesis: `score`, `positional_scores`.

        Args:
            replace_newline_with_eos: a line break is an end of sentence.
        """
        if isinstance(sentences, str):
            return self.score([sentences], replace_newline_with_eos, **kwargs)[0]  # type: ignore[index]
        tokens = [self._encoded(sentence, replace_newline_with_eos) for sentence in sentences]
        found: list[list[Hypothesis]] = self.generate(tokens, score_reference=True, **kwargs)  # type: ignore[assignment]
        return [hypotheses[0] for hypotheses in found]

    def generate(
        self,
        tokenized_sentences: Union[Tensor, list[Tensor]],
        beam: int = 5,
        verbose: bool = False,
        skip_invalid_size_inputs: bool = False,
        inference_step_args: Optional[dict[str, Any]] = None,
        prefix_allowed_tokens_fn: Optional[Callable[[int, Tensor], list[int]]] = None,
        **kwargs: Any,
    ) -> Union[list[Hypothesis], list[list[Hypothesis]]]:
        """Hypotheses, best first, for a sentence of token ids (T,), or for each of several.

        Args:
            skip_invalid_size_inputs: leave out sentences that are too long instead of refusing them.
            inference_step_args: for the task's `inference_step`.
            prefix_allowed_tokens_fn: `(sentence, tokens)` -> the ids that may follow.
            kwargs: settings of `generation`.

        Raises:
            ConfigError: a setting that there is none of.
        """
        if torch.is_tensor(tokenized_sentences) and tokenized_sentences.dim() == 1:
            return self.generate(  # type: ignore[return-value]
                tokenized_sentences.unsqueeze(0), beam, verbose, skip_invalid_size_inputs, inference_step_args,
                prefix_allowed_tokens_fn, **kwargs,
            )[0]  # fmt: skip
        settings = copy.deepcopy(self.cfg.generation)
        known = schema.keys_of(GenerationConfig)
        with open_dict(settings):
            for name, value in {"beam": beam, **kwargs}.items():
                if name not in known:
                    raise ConfigError(unknown("generation setting", name, known))
                settings[name] = value
        generator = self.task.build_generator(self.models, settings, prefix_allowed_tokens_fn=prefix_allowed_tokens_fn)
        results: list[tuple[int, list[Hypothesis]]] = []
        for batch in self._build_batches([*tokenized_sentences], skip_invalid_size_inputs):
            if settings.score_reference and batch.get("target") is None:
                raise ConfigError(
                    "a translation model scores given targets, not sources: use fairseq-generate --score-reference"
                )
            batch = utils.move_to_device(batch, self.device)
            found = self.task.inference_step(
                generator, self.models, batch, **self._step_args(batch, inference_step_args or {})
            )
            results += zip(batch["id"].tolist(), found, strict=True)
        outputs = [hypotheses for _, hypotheses in sorted(results, key=lambda result: result[0])]
        if verbose:
            for source, hypotheses in zip(tokenized_sentences, outputs, strict=False):
                self._show(source, hypotheses, settings.print_alignment)
        return outputs

    def _step_args(self, batch: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """What the task's `inference_step` gets for a batch; a subclass may add to it."""
        return given

    def _show(self, source: Tensor, hypotheses: list[Hypothesis], alignment: Any) -> None:
        logger.info(f"S\t{self.string(source)}")
        for hypothesis in hypotheses:
            logger.info(f"H\t{hypothesis['score']}\t{self.decode(hypothesis['tokens'])}")
            scores = " ".join(f"{score:.4f}" for score in hypothesis["positional_scores"].tolist())
            logger.info(f"P\t{scores}")
            if hypothesis["alignment"] is not None and alignment is not None:
                pairs = " ".join(f"{one}-{other}" for one, other in hypothesis["alignment"])
                logger.info(f"A\t{pairs}")

    def _build_batches(self, tokens: list[Any], skip_invalid_size_inputs: bool) -> Iterator[dict[str, Any]]:
        lengths = [len(sentence) for sentence in tokens]
        return self.task.get_batch_iterator(  # type: ignore[no-any-return]
            dataset=self.task.build_dataset_for_inference([torch.as_tensor(each).long() for each in tokens], lengths),
            max_tokens=self.cfg.dataset.max_tokens,
            max_sentences=self.cfg.dataset.batch_size,
            max_positions=self.max_positions,
            ignore_invalid_inputs=skip_invalid_size_inputs,
            disable_iterator_cache=True,
        ).next_epoch_itr(shuffle=False)

    # --- text and tokens --------------------------------------------------------------------------------------------

    def encode(self, sentence: str) -> Tensor:
        """Token ids (T,) of a sentence, the end of sentence included."""
        return self._encoded(sentence, False)

    def _encoded(self, sentence: str, newline_is_eos: bool) -> Tensor:
        if newline_is_eos:
            return torch.cat([self.encode(line) for line in sentence.splitlines()])
        return self.binarize(self.apply_bpe(self.tokenize(sentence)))

    def decode(self, tokens: Tensor) -> str:
        """The text of token ids."""
        return self.detokenize(self.remove_bpe(self.string(tokens)))

    def tokenize(self, sentence: str) -> str:
        return sentence if self.tokenizer is None else self.tokenizer.encode(sentence)  # type: ignore[no-any-return]

    def detokenize(self, sentence: str) -> str:
        return sentence if self.tokenizer is None else self.tokenizer.decode(sentence)  # type: ignore[no-any-return]

    def apply_bpe(self, sentence: str) -> str:
        return sentence if self.bpe is None else self.bpe.encode(sentence)  # type: ignore[no-any-return]

    def remove_bpe(self, sentence: str) -> str:
        return sentence if self.bpe is None else self.bpe.decode(sentence)  # type: ignore[no-any-return]

    def binarize(self, sentence: str) -> Tensor:
        return self.src_dict.encode_line(sentence, add_if_not_exist=False).long()  # type: ignore[no-any-return]

    def string(self, tokens: Tensor) -> str:
        return self.tgt_dict.string(tokens)  # type: ignore[no-any-return]


class BPEHubInterface:
    """A subword encoding by name: `BPEHubInterface("gpt2").encode("Hello")`; further arguments are its settings."""

    def __init__(self, bpe: str, **kwargs: Any):
        self.bpe = encoders.build_bpe(_named("bpe", bpe, kwargs))

    def encode(self, sentence: str) -> str:
        return self.bpe.encode(sentence)  # type: ignore[no-any-return]

    def decode(self, sentence: str) -> str:
        return self.bpe.decode(sentence)  # type: ignore[no-any-return]


class TokenizerHubInterface:
    """A tokenizer by name: `TokenizerHubInterface("space").encode("a  b")`; further arguments are its settings."""

    def __init__(self, tokenizer: str, **kwargs: Any):
        self.tokenizer = encoders.build_tokenizer(_named("tokenizer", tokenizer, kwargs))

    def encode(self, sentence: str) -> str:
        return self.tokenizer.encode(sentence)  # type: ignore[no-any-return]

    def decode(self, sentence: str) -> str:
        return self.tokenizer.decode(sentence)  # type: ignore[no-any-return]


def _named(group: str, name: str, settings: dict[str, Any]) -> Any:
    """The config of a component of `fairseq.data.encoders`."""
    from fairseq.dataclass import catalog
    from fairseq.dataclass.typed import typed_node

    if name not in (known := catalog.group(group)):
        raise ConfigError(unknown(group, name, known))
    return typed_node(known[name], {**settings, "_name": name}, where=group, name=name)
