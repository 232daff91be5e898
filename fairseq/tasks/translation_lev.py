"""`task=translation_lev`: translation with models that write whole sentences and refine them.

    fairseq-train iwslt-bin --task translation_lev --criterion nat_loss --arch levenshtein_transformer \\
        --noise random_delete --label-smoothing 0.1 --optimizer adam --lr 5e-4 --max-tokens 8000
    fairseq-generate iwslt-bin --task translation_lev --path checkpoint_best.pt --iter-decode-max-iter 9

Sources and targets begin with `<s>`. The decoder's input is the target with noise: without some words
(`random_delete`), with some or all words masked by `<unk>` (`random_mask`, `full_mask`), or as it is (`no_noise`).
"""

from typing import Any

import torch
from torch import Tensor

from fairseq.data import LanguagePairDataset
from fairseq.dataclass.catalog import BUILTINS
from fairseq.dataclass.refining_tasks import TranslationLevenshteinConfig
from fairseq.errors import ConfigError
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationTask

__all__ = ["TranslationLevenshteinConfig", "TranslationLevenshteinTask"]


@register_task("translation_lev", dataclass=TranslationLevenshteinConfig)
class TranslationLevenshteinTask(TranslationTask):
    """Translation for refining models."""

    def pair_settings(self) -> dict[str, Any]:
        return {"prepend_bos": True}

    def inject_noise(self, target_tokens: Tensor) -> Tensor:
        """Targets (B, T) with `cfg.noise`; without words they may be shorter.

        Raises:
            ConfigError: no such noise.
        """
        noise = str(self.cfg.noise)
        if noise == "no_noise":
            return target_tokens
        words = self.tgt_dict
        inner = target_tokens.ne(words.pad()) & target_tokens.ne(words.bos()) & target_tokens.ne(words.eos())
        if noise == "full_mask":
            return target_tokens.masked_fill(inner, words.unk())
        if noise not in ("random_mask", "random_delete"):
            raise ConfigError(f"task.noise={noise}: choose random_delete, random_mask, no_noise or full_mask")
        draws = torch.empty(target_tokens.size(), device=target_tokens.device).uniform_()
        counts = inner.sum(1).float()
        if noise == "random_mask":
            # one word at least, and the lowest draws
            shares = torch.empty(len(counts), device=counts.device).uniform_()
            masked = _ranks(draws.masked_fill(~inner, 2.0)) < (counts * shares + 1).long()[:, None]
            return target_tokens.masked_fill(masked, words.unk())
        shares = torch.empty(len(counts), 1, device=counts.device).uniform_()
        kept_inner = (counts[:, None] * shares).long()
        padding = target_tokens.eq(words.pad())
        kept = (_ranks(draws.masked_fill(~inner, 2.0)) < kept_inner) | (~inner & ~padding)
        order = (~kept).to(torch.uint8).sort(dim=1, stable=True).indices[:, : int(kept.sum(1).max())]
        return target_tokens.gather(1, order).masked_fill(~kept.gather(1, order), words.pad())

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "initialize_output_tokens"):
            raise ConfigError(
                f"task=translation_lev trains models that refine whole sentences, and {type(model).__name__} does not:"
                " choose --arch levenshtein_transformer, cmlm_transformer, ... or --task translation"
            )
        return model

    def build_criterion(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        name = getattr(cfg, "_name", None) or getattr(cfg, "criterion", None)
        if name in BUILTINS["criterion"] and name != "nat_loss":
            raise ConfigError(f"criterion={name} is for other models: task=translation_lev needs --criterion nat_loss")
        return super().build_criterion(cfg, from_checkpoint)

    def build_generator(self, models: list[Any], args: Any, **unused: Any) -> Any:  # type: ignore[override]
        """An `IterativeRefinementGenerator`, with the settings `iter_decode_...`."""
        from fairseq.tasks.generators import build_refinement_generator

        return build_refinement_generator(self.target_dictionary, args)

    def build_dataset_for_inference(
        self, src_tokens: list[Tensor], src_lengths: Any, constraints: Any = None, **kwargs: Any
    ) -> LanguagePairDataset:
        if constraints is not None:
            raise ConfigError("--constraints: models that refine whole sentences have no search to constrain")
        return LanguagePairDataset(src_tokens, src_lengths, self.source_dictionary, append_bos=True)

    def train_step(self, sample: Any, *args: Any, **kwargs: Any) -> Any:
        self._add_noise(sample)
        return super().train_step(sample, *args, **kwargs)

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        # fairseq's loader draws this number when a pass begins: the noise that follows is the same with it
        torch.empty((), dtype=torch.int64).random_()

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> tuple[Tensor, Any, dict[str, Any]]:
        self._add_noise(sample)
        return super().valid_step(sample, model, criterion)

    def _add_noise(self, sample: Any) -> None:
        self._check_target(sample)
        sample["prev_target"] = self.inject_noise(sample["target"])


def _ranks(scores: Tensor) -> Tensor:
    """The place of each score in its row, from 0 for the lowest."""
    return scores.sort(1)[1].sort(1)[1]
