"""Generation with an alignment of each hypothesis to its source."""

from typing import Any

import torch
from torch import Tensor

from fairseq.data.data_utils import collate_tokens
from fairseq.errors import ConfigError
from fairseq.generation.alignment import extract_hard_alignment, extract_soft_alignment
from fairseq.generation.ensemble import EnsembleModel
from fairseq.generation.generator import Hypothesis, SequenceGenerator

EXTRACT: dict[str, Any] = {"hard": extract_hard_alignment, "soft": extract_soft_alignment}


class EnsembleModelWithAlignment(EnsembleModel):
    """An ensemble that also gives attention over whole hypotheses."""

    @torch.no_grad()
    def forward_align(self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor) -> Tensor:
        """Attention (B, T, S) of the target to the source, the models' mean."""
        total = sum(model(src_tokens, src_lengths, prev_output_tokens)[1]["attn"][0] for model in self.models)
        return total / self.models_size


class SequenceGeneratorWithAlignment(SequenceGenerator):
    """Fills in `alignment` of each hypothesis: pairs (source word, target word) if hard, weights as text if soft.

    Args:
        left_pad_target: how models that see whole hypotheses (`full_context_alignment`) want them.
        print_alignment: "hard" or "soft".
        **kwargs: see SequenceGenerator.
    """

    model: Any

    def __init__(
        self, models: Any, tgt_dict: Any, left_pad_target: bool = False, print_alignment: str = "hard", **kwargs: Any
    ):
        super().__init__(EnsembleModelWithAlignment(models), tgt_dict, **kwargs)
        if print_alignment not in EXTRACT:
            raise ConfigError(f"alignments are hard or soft (--print-alignment), not {print_alignment!r}")
        self.left_pad_target = left_pad_target
        self.extract_alignment = EXTRACT[print_alignment]

    @torch.no_grad()
    def generate(self, models: Any, sample: dict[str, Any], **kwargs: Any) -> list[list[Hypothesis]]:
        """See SequenceGenerator.generate."""
        with self._packed_weights.in_use():
            finalized = self._generate(sample, **kwargs)
        flat = [hypothesis for hypotheses in finalized for hypothesis in hypotheses]
        if not flat:
            return finalized
        if any(hypothesis["attention"].dim() < 2 for hypothesis in flat):
            raise ConfigError("an alignment (--print-alignment) needs a model that attends to the source")
        src_tokens, src_lengths, prev_output_tokens, tgt_tokens = self._prepare_batch_for_alignment(sample, finalized)
        if any(getattr(model, "full_context_alignment", False) for model in self.model.models):
            attention = list(self.model.forward_align(src_tokens, src_lengths, prev_output_tokens).cpu())
        else:
            attention = [hypothesis["attention"].transpose(0, 1).cpu() for hypothesis in flat]
        src_tokens, tgt_tokens = src_tokens.cpu(), tgt_tokens.cpu()
        for row, (hypothesis, attn) in enumerate(zip(flat, attention, strict=True)):
            target = tgt_tokens[row]
            if attn.size(0) < target.size(0):  # attention of a hypothesis has no padding
                target = hypothesis["tokens"].cpu()
            hypothesis["alignment"] = self.extract_alignment(attn, src_tokens[row], target, self.pad, self.eos)
        return finalized

    def _prepare_batch_for_alignment(
        self, sample: dict[str, Any], hypothesis: list[list[Hypothesis]]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A row for each hypothesis: sources, their lengths, decoder's inputs and targets."""
        net_input = sample["net_input"]
        counts = torch.tensor([len(each) for each in hypothesis], device=net_input["src_tokens"].device)
        words = [each["tokens"] for hypotheses in hypothesis for each in hypotheses]
        previous, targets = (
            collate_tokens(words, self.pad, self.eos, self.left_pad_target, move_eos_to_beginning=moved)
            for moved in (True, False)
        )
        return (
            net_input["src_tokens"].repeat_interleave(counts, dim=0),
            net_input["src_lengths"].repeat_interleave(counts, dim=0),
            previous,
            targets,
        )
