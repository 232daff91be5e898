"""Language tokens: symbols that say which language a sentence is in, or shall be translated into.

>>> get_lang_tok("de", "multilingual"), get_lang_tok("de_DE", "mbart", "mono_dae")
('__de__', '[de_DE_dae]')
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Optional

from fairseq.dataclass.constants import EncoderLangtok, LangTokStyle

__all__ = ["EncoderLangtok", "LangTokSpec", "LangTokStyle", "augment_dictionary", "get_lang_tok"]


class LangTokSpec(Enum):
    """Kinds of data with tokens of their own: pairs, and text to denoise."""

    main = "main"
    mono_dae = "mono_dae"


def get_lang_tok(lang: str, lang_tok_style: str, spec: str = LangTokSpec.main.value) -> str:
    """The token of `lang` for a kind of data."""
    name = f"{lang}_dae" if str(spec).endswith("dae") else lang
    return f"[{name}]" if lang_tok_style == LangTokStyle.mbart.value else f"__{name}__"


def augment_dictionary(
    dictionary: Any,
    language_list: Sequence[str],
    lang_tok_style: str,
    langtoks_specs: Sequence[str] = (LangTokSpec.main.value,),
    extra_data: Optional[dict[str, str]] = None,
) -> None:
    """Add the tokens of all languages, and `<mask>` where there is text to denoise, in place."""
    for spec in langtoks_specs:
        for language in language_list:
            dictionary.add_symbol(get_lang_tok(language, lang_tok_style, spec))
    if lang_tok_style == LangTokStyle.mbart.value or LangTokSpec.mono_dae.value in (extra_data or {}):
        dictionary.add_symbol("<mask>")
