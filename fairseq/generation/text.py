"""Generated words as text: unknown words replaced by the source words that they are aligned to.

>>> replace_unk("the <unk> barks", "der hund bellt", [(0, 0), (1, 1), (2, 2)], {"hund": "dog"}, "<unk>")
'the dog barks'
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional, Union

from torch import Tensor

from fairseq.errors import ConfigError, DataError, reason
from fairseq.generation.alignment import source_places
from fairseq.tokenizer import tokenize_line

BARE_FLAG = "@@ "  # what `--replace-unk` without a file leaves in its place


def load_align_dict(replace_unk: Union[bool, str, None]) -> Optional[dict[str, str]]:
    """What source words are replaced by, from a file with two words on a line; nothing without a file; None where
    unknown words stay.

    Raises:
        DataError: no such file, or a line of it has no second word.
    """
    if replace_unk is None or replace_unk is False:
        return None
    if replace_unk is True or replace_unk in ("", BARE_FLAG):
        return {}
    try:
        lines = Path(replace_unk).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the alignment dictionary {replace_unk} ({reason(error)})") from error
    result = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) == 1:
            raise DataError(f"{replace_unk}, line {number}: a source word and its translation are expected")
        if words:
            result[words[0]] = words[1]
    return result


def replace_unk(hypo_str: str, src_str: str, alignment: Any, align_dict: dict[str, str], unk: str) -> str:
    """`hypo_str` with every word `unk` replaced by the source word aligned to it, translated by `align_dict`.

    Args:
        alignment: pairs (source, target), or the source place of each target word.

    Raises:
        ConfigError: there is no alignment.
        DataError: an aligned word is not in the source.
    """
    words = tokenize_line(hypo_str)
    if unk not in words:
        return " ".join(words)
    source = [*tokenize_line(src_str), "<eos>"]
    places = source_places(alignment)
    if not places:
        raise ConfigError("replacing unknown words (--replace-unk) needs an alignment: add --print-alignment hard")
    for target, word in enumerate(words):
        if word != unk or target not in places:
            continue
        if not 0 <= places[target] < len(source):
            raise DataError(f"word {target} is aligned to source word {places[target]} of {len(source) - 1}")
        aligned = source[places[target]]
        words[target] = align_dict.get(aligned, aligned)
    return " ".join(words)


def post_process_prediction(
    hypo_tokens: Tensor,
    src_str: str,
    alignment: Any,
    align_dict: Optional[dict[str, str]],
    tgt_dict: Any,
    remove_bpe: Optional[str] = None,
    extra_symbols_to_ignore: Optional[Iterable[int]] = None,
) -> tuple[Tensor, str, Any]:
    """Text of a hypothesis.

    Args:
        hypo_tokens: (T,).
        src_str: the source's text.
        alignment: see `replace_unk`.
        align_dict: replace unknown words; None leaves them.
        tgt_dict: new words of the text are added to it.
        remove_bpe: join word pieces, see `Dictionary.string`.
        extra_symbols_to_ignore: symbols that are not printed.

    Returns:
        The ids of the text, which differ from `hypo_tokens` where it was changed; the text; `alignment`.
    """
    text = tgt_dict.string(hypo_tokens, remove_bpe, extra_symbols_to_ignore=extra_symbols_to_ignore)
    if align_dict is not None:
        text = replace_unk(text, src_str, alignment, align_dict, tgt_dict.unk_string())
    if align_dict is not None or remove_bpe is not None:
        # scores compare ids: a word that is in no dictionary must equal itself in the reference
        hypo_tokens = tgt_dict.encode_line(text, add_if_not_exist=True)
    return hypo_tokens, text, alignment
