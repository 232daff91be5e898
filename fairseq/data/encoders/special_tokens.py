"""What a Hugging Face tokenizer's tokens are called in our dictionaries.

Ids 0-3 of a dictionary are `<s> <pad> </s> <unk>`. RoBERTa and XLM-R call theirs so; BERT's are `[CLS] [PAD] [SEP]
[UNK]`, and its `[MASK]` is our `<mask>`. All other tokens keep their names, except those that a dictionary cannot
hold: with white space in them, empty, or spelt like one of our five without being it.

>>> vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "two words": 6, "<s>": 7}
>>> names = renamed(vocab, special_tokens(vocab))
>>> names["[CLS]"], names.get("a", "a"), names["two words"], names["<s>"]
('<s>', 'a', 'two\\\\u0020words#6', '<s>#7')
"""

from typing import Optional

from fairseq.errors import CheckpointError

# fairseq's special symbols -> their names in other tokenizers
SPECIAL = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
FRONT = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0-3


def find_special_tokens(vocab: dict[str, int]) -> Optional[dict[str, str]]:
    """Our special symbols -> the tokens that serve as such, None if not all are there. They may be in any order."""
    roberta, bert = {ours: ours for ours in SPECIAL}, dict(SPECIAL)
    complete = [names for names in (roberta, bert) if all(names[ours] in vocab for ours in FRONT)]
    if len(complete) == 2:  # the other ones are words
        return roberta if vocab["<s>"] == 0 else bert
    return complete[0] if complete else None


def special_tokens(vocab: dict[str, int], where: str = "the tokenizer") -> dict[str, str]:
    """The same.

    Raises:
        CheckpointError: one of `<s> <pad> </s> <unk>` has no counterpart.
    """
    if (found := find_special_tokens(vocab)) is not None:
        return found
    missing = [ours for ours in FRONT if ours not in vocab and SPECIAL[ours] not in vocab] or list(FRONT)
    raise CheckpointError(
        f"{where}: the tokenizer has neither {missing[0]} nor {SPECIAL[missing[0]]}; it is not a BERT-type one"
    )


def renamed(vocab: dict[str, int], special: Optional[dict[str, str]]) -> dict[str, str]:
    """Token -> symbol, of those tokens whose symbol is another one.

    Args:
        special: what `find_special_tokens` found.
    """
    ours_of = {theirs: ours for ours, theirs in (special or {}).items()}
    names = {theirs: ours for theirs, ours in ours_of.items() if theirs in vocab and theirs != ours}
    for token, index in vocab.items():
        misleading = special is not None and token in SPECIAL and ours_of.get(token) != token
        if misleading or token.split() != [token]:
            escaped = "".join(f"\\u{ord(c):04x}" if c.isspace() else c for c in token)
            names[token] = f"{escaped}#{index}"
    return names
