"""RoBERTa for interactive use: text in, features, classes or filled-in words out.

roberta = RobertaModel.from_pretrained("checkpoints", "checkpoint_best.pt", data_name_or_path="RTE-bin")
tokens = roberta.encode("A soccer game with multiple males playing.", "Some men are playing a sport.")
roberta.predict("sentence_classification_head", tokens).argmax()         # the number of a class
roberta.predict_label("sentence_classification_head", tokens)            # its name: ['entailment']
"""

from typing import Any, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.data import encoders
from fairseq.data.class_names import task_class_names
from fairseq.data.encoders import carried
from fairseq.data.encoders.hf_tokenizer import PieceEncoder
from fairseq.data.sentence_marks import decode_marked, encode_marked, encode_symbols
from fairseq.errors import ConfigError, DataError, unknown
from fairseq.models.roberta import alignment_utils
from fairseq.quantization.bits import bits_for


class RobertaHubInterface(nn.Module):
    """A model with its task and byte-pair encoding.

    Attributes:
        cfg, task, model: as they were loaded.
        bpe: what turns text into the dictionary's symbols and back; None if neither config nor data name one.
    """

    _float_tensor: Tensor

    def __init__(self, cfg: Any, task: Any, model: Any):
        super().__init__()
        self.cfg = cfg
        self.task = task
        self.model = model
        self.bpe = _build_bpe(cfg.bpe, task)
        self.register_buffer("_float_tensor", torch.tensor([0], dtype=torch.float))  # lives where the model lives

    @property
    def device(self) -> torch.device:
        return self._float_tensor.device

    # --- text and tokens ------------------------------------------------------------------------------------------

    def encode(self, sentence: str, *addl_sentences: str, no_separator: bool = False) -> Tensor:
        """Token ids (T,) of `<s> sentence </s>`, each further sentence behind another `</s>`.

        Args:
            no_separator: put a single `</s>` between sentences instead of two.
        """
        pieces = [self._pieces(each) for each in (sentence, *addl_sentences)]
        return encode_marked(pieces, self.task.source_dictionary, no_separator)

    def decode(self, tokens: Tensor) -> Union[str, list[str]]:
        """The text of `tokens` (T,); a list of texts if there are several sentences."""
        return decode_marked(tokens, self.task.source_dictionary, self.bpe)

    def _pieces(self, text: str) -> str:
        return text if self.bpe is None else self.bpe.encode(text)

    def _word(self, number: int) -> str:
        """The text that id `number` adds to a sentence: with a space in front where it begins a word."""
        symbol = self.task.source_dictionary[number]
        if self.bpe is None or number < self.task.source_dictionary.nspecial or symbol == "<mask>":
            return symbol
        if isinstance(self.bpe, PieceEncoder):
            return self.bpe.text_of(symbol)
        return self.bpe.decode(symbol)

    def _ids(self, pieces: str) -> Tensor:
        return encode_symbols(pieces, self.task.source_dictionary)

    # --- features and predictions ---------------------------------------------------------------------------------

    def extract_features(
        self, tokens: Tensor, return_all_hiddens: bool = False, num_bits: Optional[int] = None
    ) -> Union[Tensor, list[Tensor]]:
        """Features (B, T, C) of `tokens` (T,) or (B, T); with `return_all_hiddens` those of every layer.

        Args:
            num_bits: bits of the quantizers that follow; None: as the model says, 0: full precision.

        Raises:
            DataError: more tokens than the model has positions.
        """
        tokens = tokens.unsqueeze(0) if tokens.dim() == 1 else tokens
        if tokens.size(-1) > self.model.max_positions():
            raise DataError(f"{tokens.size(-1)} tokens do not fit the model's {self.model.max_positions()} positions")
        features, extra = self.model(
            tokens.to(self.device),
            features_only=True,
            return_all_hiddens=return_all_hiddens,
            **bits_for(self.model, num_bits),
        )
        if return_all_hiddens:
            return [state.transpose(0, 1) for state in extra["inner_states"]]  # (T, B, C) -> (B, T, C)
        return features

    def register_classification_head(
        self, name: str, num_classes: Optional[int] = None, embedding_size: int = 0, **kwargs: Any
    ) -> None:
        """Add a head to the model; `embedding_size` is accepted for fairseq's sake, other options are passed on."""
        self.model.register_classification_head(name, num_classes=num_classes, **kwargs)

    def label_names(self, head: str) -> Optional[list[str]]:
        """Names of the classes that `head` predicts, in order; None if neither checkpoint nor data name them.

        Classes go by how frequent they were in training: class 0 of SST-2 is called '1'.
        """
        return task_class_names(self.task, self._head(head).out_proj.out_features)

    def predict_label(self, head: str, tokens: Tensor, num_bits: Optional[int] = None) -> list[str]:
        """The name of the most likely class of each row of `tokens`, (T,) or (B, T).

        Raises:
            ConfigError: the names of the classes are unknown.
        """
        names = self.label_names(head)
        if names is None:
            raise ConfigError(
                f"neither the checkpoint nor its data folder names the classes of head {head!r}; give the folder by "
                "data_name_or_path, or take their numbers from predict"
            )
        logits = self.predict(head, tokens, return_logits=True, num_bits=num_bits)
        return [names[index] for index in logits.argmax(dim=-1).tolist()]

    def predict(self, head: str, tokens: Tensor, return_logits: bool = False, num_bits: Optional[int] = None) -> Tensor:
        """Log-probabilities (B, classes) by classification head `head`, or its raw scores.

        `label_names(head)` returns the names of the classes; `num_bits` is that of `extract_features`.
        """
        module = self._head(head)
        logits = module(self.extract_features(tokens, num_bits=num_bits), **bits_for(module, num_bits))
        return logits if return_logits else F.log_softmax(logits, dim=-1)

    def _head(self, name: str) -> Any:
        if name not in self.model.classification_heads:
            raise ConfigError(unknown("classification head", name, self.model.classification_heads, "the model"))
        return self.model.classification_heads[name]

    def extract_features_aligned_to_words(self, sentence: str, return_all_hiddens: bool = False) -> Any:
        """A spaCy Doc of `sentence`, `<s>` in front and `</s>` behind; `token.vector` is the word's feature (C,)."""
        nlp = alignment_utils.spacy_nlp()
        tokens = self.encode(sentence)
        words = list(nlp.tokenizer(sentence))
        with_spaces = [word.text_with_ws for word in words]
        alignment = alignment_utils.align_bpe_to_words(self, tokens, with_spaces)
        features = self.extract_features(tokens, return_all_hiddens=return_all_hiddens)
        layers = features if isinstance(features, list) else [features]
        aligned = [alignment_utils.align_features_to_words(self, layer.squeeze(0), alignment) for layer in layers]

        doc = alignment_utils.spacy_doc(nlp, [word.text for word in words], [w.endswith(" ") for w in with_spaces])
        vectors = torch.stack(aligned) if return_all_hiddens else aligned[0]  # (layers, T, C) or (T, C)
        doc.user_token_hooks["vector"] = lambda token: vectors[..., token.i, :]
        return doc

    def fill_mask(self, masked_input: str, topk: int = 5) -> list[tuple[str, float, str]]:
        """The most likely words for the one `<mask>` in `masked_input`: (filled sentence, probability, word)."""
        mask = "<mask>"
        if masked_input.count(mask) != 1:
            raise ConfigError(f"fill_mask needs exactly one {mask} in its input: 'The capital of France is {mask}.'")
        pieces = f" {mask} ".join(self._pieces(span.rstrip()) for span in masked_input.split(mask)).strip()
        tokens = self._ids(f"<s> {pieces} </s>")
        position = (tokens == self.task.source_dictionary.index(mask)).nonzero()[0, 0]
        with torch.no_grad():
            scores, _ = self.model(tokens.unsqueeze(0).to(self.device), features_only=False)
        probabilities, ids = scores[0, position].float().softmax(dim=0).topk(topk)

        place = f" {mask}" if f" {mask}" in masked_input else mask  # words bring their own space, endings have none
        filled = []
        for probability, number in zip(probabilities.tolist(), ids.tolist(), strict=True):
            word = self._word(number)
            filled.append((masked_input.replace(place, word), probability, word))
        return filled

    def disambiguate_pronoun(self, sentence: str) -> bool:
        """What the pronoun in brackets refers to (Winograd schemas); needs a task that can do it."""
        if not hasattr(self.task, "disambiguate_pronoun"):
            raise ConfigError(f"disambiguate_pronoun needs a Winograd task, the model's is {type(self.task).__name__}")
        with torch.no_grad():
            return self.task.disambiguate_pronoun(self.model, sentence, use_cuda=self.device.type == "cuda")


def _build_bpe(cfg: Any, task: Any) -> Any:
    """The byte-pair encoding that a config names, or else the one that the task's checkpoint or data carry."""
    if cfg is not None:
        return encoders.build_bpe(cfg)
    described = getattr(task, "carried_text", lambda: None)()
    return None if described is None else carried.build(described, "the checkpoint")
