"""Several encoder-decoder models in one, by key: one for each pair of languages."""

from collections.abc import Callable, Mapping
from typing import Any, Optional

from torch import Tensor, nn

from fairseq.models.fairseq_decoder import FairseqDecoder
from fairseq.models.fairseq_encoder import FairseqEncoder
from fairseq.models.fairseq_model import BaseFairseqModel, FairseqEncoderDecoderModel, check_type


class FairseqMultiModel(BaseFairseqModel):
    """A model for each key (`"de-en"`) of both arguments."""

    def __init__(self, encoders: Mapping[str, FairseqEncoder], decoders: Mapping[str, FairseqDecoder]):
        super().__init__()
        assert encoders.keys() == decoders.keys(), "encoders and decoders have different keys"
        self.keys = list(encoders)
        for key in self.keys:
            check_type(encoders[key], FairseqEncoder)
            check_type(decoders[key], FairseqDecoder)
        self.models = nn.ModuleDict(
            {key: FairseqEncoderDecoderModel(encoders[key], decoders[key]) for key in self.keys}
        )

    @staticmethod
    def build_shared_embeddings(
        dicts: Mapping[str, Any],
        langs: list[str],
        embed_dim: int,
        build_embedding: Callable[..., nn.Embedding],
        pretrained_embed_path: Optional[str] = None,
    ) -> nn.Embedding:
        """One embedding for all `langs`, whose dictionaries have to be the same.

        Args:
            build_embedding: called with a dictionary, the width and the path.
        """
        shared = dicts[langs[0]]
        if any(dicts[lang] != shared for lang in langs):
            raise ValueError("shared embeddings need a joined dictionary: that of every language is the same")
        return build_embedding(shared, embed_dim, pretrained_embed_path)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor, **kwargs: Any) -> Any:
        """Key -> the result of its model."""
        return {key: model(src_tokens, src_lengths, prev_output_tokens, **kwargs) for key, model in self.models.items()}

    def max_positions(self) -> dict[str, Any]:
        """Key -> longest source and target."""
        models: Any = self.models
        return {key: (models[key].encoder.max_positions(), models[key].decoder.max_positions()) for key in self.keys}

    def max_decoder_positions(self) -> Any:
        models: Any = self.models
        return min(model.decoder.max_positions() for model in models.values())

    @property
    def encoder(self) -> Any:
        """That of the first key."""
        return self.models[self.keys[0]].encoder

    @property
    def decoder(self) -> Any:
        return self.models[self.keys[0]].decoder

    def forward_decoder(self, prev_output_tokens: Tensor, **kwargs: Any) -> Any:
        return self.decoder(prev_output_tokens, **kwargs)
