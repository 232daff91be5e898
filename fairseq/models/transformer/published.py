"""Translation models that fairseq's authors published, and the tokenizers that they were trained with."""

from typing import Any

_ADDRESS = "https://dl.fbaipublicfiles.com"
_TEXT = {
    "moses-merges": {"tokenizer": "moses", "bpe": "subword_nmt"},
    "moses-fast": {"tokenizer": "moses", "bpe": "fastbpe"},
    "pieces": {"tokenizer": "space", "bpe": "sentencepiece"},
}
_MODELS = [  # name without `transformer.`, file, text
    ("wmt14.en-fr", "wmt14.en-fr.joined-dict.transformer.tar.bz2", "moses-merges"),
    ("wmt18.en-de", "wmt18.en-de.ensemble.tar.gz", "moses-merges"),
    ("wmt19.en-de", "wmt19.en-de.joined-dict.ensemble.tar.gz", "moses-fast"),
    ("wmt19.en-ru", "wmt19.en-ru.ensemble.tar.gz", "moses-fast"),
    ("wmt19.de-en", "wmt19.de-en.joined-dict.ensemble.tar.gz", "moses-fast"),
    ("wmt19.ru-en", "wmt19.ru-en.ensemble.tar.gz", "moses-fast"),
    ("wmt19.en-de.single_model", "wmt19.en-de.joined-dict.single_model.tar.gz", "moses-fast"),
    ("wmt19.en-ru.single_model", "wmt19.en-ru.single_model.tar.gz", "moses-fast"),
    ("wmt19.de-en.single_model", "wmt19.de-en.joined-dict.single_model.tar.gz", "moses-fast"),
    ("wmt19.ru-en.single_model", "wmt19.ru-en.single_model.tar.gz", "moses-fast"),
    ("wmt20.en-ta", "wmt20.en-ta.single.tar.gz", "pieces"),
    ("wmt20.en-iu.news", "wmt20.en-iu.news.single.tar.gz", "pieces"),
    ("wmt20.en-iu.nh", "wmt20.en-iu.nh.single.tar.gz", "pieces"),
    ("wmt20.ta-en", "wmt20.ta-en.single.tar.gz", "pieces"),
    ("wmt20.iu-en.news", "wmt20.iu-en.news.single.tar.gz", "pieces"),
    ("wmt20.iu-en.nh", "wmt20.iu-en.nh.single.tar.gz", "pieces"),
]


def published_models() -> dict[str, Any]:
    """Name -> address, or address with tokenizer and byte-pair encoding."""
    models = f"{_ADDRESS}/fairseq/models"
    found: dict[str, Any] = {
        f"transformer.{name}": {"path": f"{models}/{file}", **_TEXT[text]} for name, file, text in _MODELS
    }
    found["transformer.wmt16.en-de"] = f"{models}/wmt16.en-de.joined-dict.transformer.tar.bz2"
    for size in ("615M", "175M"):
        path = f"{_ADDRESS}/flores101/pretrained_models/flores101_mm100_{size}.tar.gz"
        found[f"transformer.flores101.mm100.{size}"] = {"path": path, **_TEXT["pieces"]}
    return found
