"""`--arch iterative_nonautoregressive_transformer`: a model that learns to refine its own outputs, and corrupted
targets (Lee et al., arXiv:1802.06901).

Train it with `--task translation_lev --criterion nat_loss --noise full_mask`.
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.dataclass.refining_models import IterativeTransformerConfig
from fairseq.models.config import fill_defaults
from fairseq.models.nat.nonautoregressive_transformer import NATransformerModel, check_shapes
from fairseq.models.registries import register_model, register_sizes
from fairseq.quantization.bits import bits_for


def _sequential_poisoning(s: Tensor, V: int, beta: float = 0.33, bos: int = 2, eos: int = 3, pad: int = 1) -> Tensor:
    """Sentences (B, T) in which the share `beta` of the words is replaced, or has taken a neighbour's place.

    From left to right, and alike often: a word becomes one of the `V` of the dictionary, is repeated to its right, or
    becomes the one to its right. Begin, end and padding are not chosen; an unknown word is neither copied nor replaced
    by a copy. As in fairseq, an end may be.
    """
    words = torch.randint(4, V, s.size(), device=s.device)
    choices = torch.rand(s.size(), device=s.device)
    fixed = s.eq(pad) | s.eq(bos) | s.eq(eos)
    kinds = (choices / (beta / 3)).long().masked_fill(fixed, 3)
    s = s.clone()
    for i in range(s.size(1) - 1):
        s[:, i] = torch.where(kinds[:, i].eq(0), words[:, i], s[:, i])
        s[:, i + 1] = torch.where(kinds[:, i].eq(1) & s[:, i + 1].ne(3), s[:, i], s[:, i + 1])
        s[:, i] = torch.where(kinds[:, i].eq(2) & s[:, i + 1].ne(3), s[:, i + 1], s[:, i])
    return s


def gumbel_noise(input: Tensor, TINY: float = 1e-8) -> Tensor:
    """Noise of `input`'s shape: the largest of logits with such noise is a draw from their softmax."""
    uniform = torch.empty_like(input, requires_grad=False).uniform_()
    return -(-(uniform + TINY).log() + TINY).log()


@register_model("iterative_nonautoregressive_transformer", dataclass=IterativeTransformerConfig)
class IterNATransformerModel(NATransformerModel):
    """Words in several steps, each from those of the step before."""

    def forward(  # type: ignore[override]
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        tgt_tokens: Tensor,
        num_bits: Optional[int] = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        check_shapes(prev_output_tokens, tgt_tokens)
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **bits_for(self.encoder, num_bits), **kwargs)
        length = self.length_loss(encoder_out, tgt_tokens, num_bits)
        outputs, masks = [], []
        for step in range(self.args.train_step):
            out = self.decoder(
                normalize=False,
                prev_output_tokens=prev_output_tokens,
                encoder_out=encoder_out,
                step=step,
                num_bits=num_bits,
            )
            places = self.word_mask(prev_output_tokens, tgt_tokens)
            outputs.append(out)
            masks.append(places)
            if step + 1 < self.args.train_step:
                prev_output_tokens = self.refined(prev_output_tokens, tgt_tokens, out, places)
        count = len(outputs)
        entry = self.words(prev_output_tokens, tgt_tokens.repeat(count, 1), torch.cat(masks))
        return {"word_ins": {**entry, "out": torch.cat(outputs)}, "length": length}

    @torch.no_grad()
    def refined(self, prev_output_tokens: Tensor, tgt_tokens: Tensor, out: Tensor, places: Tensor) -> Tensor:
        """The next step's input (B, T): what the model has predicted, and for some sentences a corrupted target."""
        logits = out + gumbel_noise(out) if self.args.stochastic_approx else out
        words = torch.where(places, logits.max(-1)[1], prev_output_tokens)
        corrupted = torch.rand(len(words), device=words.device) < self.args.dae_ratio
        if corrupted.any():
            targets = tgt_tokens[corrupted]
            words[corrupted] = _sequential_poisoning(targets, len(self.tgt_dict), 0.33, self.bos, self.eos, self.pad)
        return words


def inat_base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide, 4 steps."""
    fill_defaults(args, IterativeTransformerConfig)


iter_nat_wmt_en_de = inat_base_architecture
register_sizes("iterative_nonautoregressive_transformer")
