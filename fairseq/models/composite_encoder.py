"""Several encoders over one source, their outputs by name.

>>> CompositeEncoder({"a": FairseqEncoder(None)}).max_positions()
1000000.0
"""

from typing import Any, Optional

from torch import Tensor

from fairseq.models.fairseq_encoder import FairseqEncoder


class CompositeEncoder(FairseqEncoder):
    """Runs every encoder of a dictionary; the dictionary (of symbols) is the first one's."""

    def __init__(self, encoders: dict[str, FairseqEncoder]):
        super().__init__(next(iter(encoders.values())).dictionary)
        self.encoders = encoders
        for name, encoder in encoders.items():
            self.add_module(name, encoder)

    def forward(self, src_tokens: Tensor, src_lengths: Optional[Tensor] = None, **kwargs: Any) -> dict[str, Any]:
        return {name: encoder(src_tokens, src_lengths) for name, encoder in self.encoders.items()}

    def reorder_encoder_out(self, encoder_out: dict[str, Any], new_order: Tensor) -> dict[str, Any]:
        return {
            name: encoder.reorder_encoder_out(encoder_out[name], new_order) for name, encoder in self.encoders.items()
        }

    def max_positions(self) -> Any:
        return min(encoder.max_positions() for encoder in self.encoders.values())
