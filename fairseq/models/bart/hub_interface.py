"""BART from Python: text in; text, features or labels out.

bart = BARTModel.from_pretrained("bart.base", "model.pt")
bart.fill_mask(["The cat <mask> on the <mask>."], topk=3, beam=10)
bart.sample(["A long article ..."], beam=4, lenpen=2.0, max_len_b=140, min_len=55, no_repeat_ngram_size=3)
tokens = bart.encode("BART is a seq2seq model.", "BART is not sequence to sequence.")
bart.predict("mnli", tokens).argmax()
"""

import logging
from typing import Any, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.data.sentence_marks import decode_marked, encode_marked, encode_symbols
from fairseq.errors import ConfigError, DataError
from fairseq.generation.hub_interface import GeneratorHubInterface, Hypothesis
from fairseq.quantization.bits import bits_for

logger = logging.getLogger(__name__)

_MASK = "<mask>"


class BARTHubInterface(GeneratorHubInterface):
    """A model with its task and byte-pair encoding."""

    def __init__(self, cfg: Any, task: Any, model: Any):
        super().__init__(cfg, task, [model])
        self.model = self.models[0]

    def encode(self, sentence: str, *addl_sentences: str, no_separator: bool = True) -> Tensor:
        """Token ids (T,) of `<s> sentence </s>`, further sentences behind.

        A first sentence that is too long for the model by itself is cut, with a warning.

        Args:
            no_separator: put a single `</s>` between sentences instead of two.
        """
        first, *others = (self.apply_bpe(each) for each in (sentence, *addl_sentences))
        symbols = first.split(" ")
        room = min(self.max_positions) - 2
        if len(symbols) > room:
            logger.warning(f"a sentence has {len(symbols)} symbols, the model room for {room}: the others are left out")
            first = " ".join(symbols[:room])
        return encode_marked([first, *others], self.task.source_dictionary, no_separator)

    def decode(self, tokens: Tensor) -> Union[str, list[str]]:  # type: ignore[override]
        """The text of `tokens` (T,); a list of texts if there are several sentences."""
        return decode_marked(tokens, self.task.source_dictionary, self.bpe)

    # --- generation -------------------------------------------------------------------------------------------------

    def _step_args(self, batch: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Outputs begin with `<s>`, unless `prefix_tokens` say otherwise."""
        begin = torch.full((len(batch["id"]), 1), self.task.source_dictionary.bos(), device=self.device)
        return {"prefix_tokens": begin, **given}

    def fill_mask(
        self, masked_inputs: list[str], topk: int = 5, match_source_len: bool = True, **generate_kwargs: Any
    ) -> list[list[tuple[str, Tensor]]]:
        """For each text with one `<mask>` or more the best `topk` whole texts, each with its score.

        Args:
            match_source_len: texts have as many tokens as the input.
            generate_kwargs: settings of `generation`; the beam has `topk` hypotheses at least.

        Raises:
            ConfigError: a text without `<mask>`.
        """
        batch = []
        for text in masked_inputs:
            if _MASK not in text:
                raise ConfigError(f"fill_mask needs {_MASK} in its inputs: 'The cat {_MASK} on the mat.'")
            pieces = f" {_MASK} ".join(self.apply_bpe(span.rstrip()) for span in text.split(_MASK)).strip()
            batch.append(encode_symbols(f"<s> {pieces} </s>", self.task.source_dictionary))
        settings = {**generate_kwargs, "match_source_len": match_source_len}
        settings["beam"] = max(topk, settings.get("beam", -1))
        found: list[list[Hypothesis]] = self.generate(batch, **settings)  # type: ignore[assignment]
        return [[(self.decode(each["tokens"]), each["score"]) for each in best[:topk]] for best in found]  # type: ignore[misc]

    # --- features and predictions -----------------------------------------------------------------------------------

    def extract_features(
        self, tokens: Tensor, return_all_hiddens: bool = False, num_bits: Optional[int] = None
    ) -> Union[Tensor, list[Tensor]]:
        """The decoder's features (B, T, C) of `tokens` (T,) or (B, T); with `return_all_hiddens` those of every layer.

        Args:
            num_bits: bits of the quantizers that follow; None: as the model says, 0: full precision.

        Raises:
            DataError: more tokens than the model has positions.
        """
        features, extra = self._forward(tokens, num_bits, features_only=True)
        if return_all_hiddens:
            return [state.transpose(0, 1) for state in extra["inner_states"]]  # (T, B, C) -> (B, T, C)
        return features

    def _forward(self, tokens: Tensor, num_bits: Optional[int], **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        """What the model says of `tokens`, read by its decoder, too, in whose input the last one comes first."""
        tokens = (tokens.unsqueeze(0) if tokens.dim() == 1 else tokens).to(self.device)
        longest = min(self.max_positions)
        if tokens.size(-1) > longest:
            raise DataError(f"{tokens.size(-1)} tokens do not fit the model's {longest} positions")
        last = tokens.ne(self.task.source_dictionary.pad()).sum(dim=1, keepdim=True) - 1
        shifted = torch.cat([tokens.gather(1, last), tokens[:, :-1]], dim=1)
        return self.model(  # type: ignore[no-any-return]
            src_tokens=tokens,
            src_lengths=None,
            prev_output_tokens=shifted,
            **kwargs,
            **bits_for(self.model, num_bits),
        )

    def register_classification_head(
        self, name: str, num_classes: Optional[int] = None, embedding_size: Optional[int] = None, **kwargs: Any
    ) -> None:
        """Add a head to the model; `embedding_size` is accepted for fairseq's sake, other options are passed on."""
        self.model.register_classification_head(name, num_classes=num_classes, **kwargs)  # type: ignore[operator]

    def predict(self, head: str, tokens: Tensor, return_logits: bool = False, num_bits: Optional[int] = None) -> Tensor:
        """Log-probabilities (B, classes) by classification head `head`, or its raw scores.

        Raises:
            ConfigError: no head of that name.
        """
        logits, _ = self._forward(tokens, num_bits, classification_head_name=head)
        return logits if return_logits else F.log_softmax(logits, dim=-1)
