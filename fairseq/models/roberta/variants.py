"""Models that are RoBERTa in another language, with another byte-pair encoding: XLM-R, CamemBERT, GottBERT.

They differ only in the arguments of `from_pretrained`. Their checkpoints name `roberta`, so nothing is registered.
"""

from typing import Any, Optional

from fairseq.models.roberta.model import RobertaModel

_ADDRESS = "http://dl.fbaipublicfiles.com/fairseq/models"


class XLMRModel(RobertaModel):
    """Conneau et al., arXiv:1911.02116: 100 languages."""

    published_bpe = "sentencepiece"

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        small = {f"xlmr.{size}": f"{_ADDRESS}/xlmr.{size}.tar.gz" for size in ("base", "large")}
        return {**small, **{f"xlmr.{size}": f"{_ADDRESS}/xlmr/xlmr.{size}.tar.gz" for size in ("xl", "xxl")}}


class CamembertModel(RobertaModel):
    """Martin et al., arXiv:1911.03894: French."""

    published_bpe = "sentencepiece"

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        names = ("base", "large", "base-ccnet", "base-ccnet-4gb", "base-wikipedia-4gb", "base-oscar-4gb")
        archives = {f"camembert-{name}": f"{_ADDRESS}/camembert-{name}.tar.gz" for name in names}
        return {**archives, "camembert": archives["camembert-base"], "camembert.v0": archives["camembert-base"]}


class GottbertModel(RobertaModel):
    """Scheible et al., arXiv:2012.02110: German."""

    published_bpe = "hf_byte_bpe"

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        return {"gottbert-base": "https://dl.gottbert.de/fairseq/models/gottbert-base.tar.gz"}

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        bpe: Optional[str] = "auto",
        bpe_add_prefix_space: bool = False,
        **kwargs: Any,
    ) -> Any:
        return super().from_pretrained(
            model_name_or_path,
            checkpoint_file,
            data_name_or_path,
            bpe,
            bpe_add_prefix_space=bpe_add_prefix_space,
            **kwargs,
        )
