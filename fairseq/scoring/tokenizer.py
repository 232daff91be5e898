"""How scorers split text: a tokenizer of sacreBLEU's, then lower case, without punctuation, as characters.

>>> EvaluationTokenizer(lowercase=True).tokenize("Hello, World!")
'hello , world !'
>>> EvaluationTokenizer("none", punctuation_removal=True).tokenize("a , b ... c")
'a b c'
>>> EvaluationTokenizer("none", character_tokenization=True).tokenize("ab c")
'a b \u2581 c'
"""

import unicodedata

from fairseq.errors import ConfigError, unknown


class EvaluationTokenizer:
    """See the head of this file.

    Args:
        tokenizer_type: a tokenizer of sacreBLEU's: 13a, intl, zh, ...; none: white space.
        punctuation_removal: leave out words that are nothing but punctuation.
        character_tokenization: characters as words, spaces as U+2581.

    Raises:
        ConfigError: no such tokenizer.
    """

    SPACE = " "
    SPACE_ESCAPE = "\u2581"

    def __init__(
        self,
        tokenizer_type: str = "13a",
        lowercase: bool = False,
        punctuation_removal: bool = False,
        character_tokenization: bool = False,
    ):
        import sacrebleu

        if str(tokenizer_type) not in sacrebleu.BLEU.TOKENIZERS:
            raise ConfigError(unknown("tokenizer", str(tokenizer_type), sacrebleu.BLEU.TOKENIZERS, where="scoring"))
        self.lowercase = lowercase
        self.punctuation_removal = punctuation_removal
        self.character_tokenization = character_tokenization
        self.tokenizer = sacrebleu.BLEU(tokenize=str(tokenizer_type)).tokenizer

    @classmethod
    def remove_punctuation(cls, sent: str) -> str:
        words = sent.split(cls.SPACE)
        return cls.SPACE.join(
            word for word in words if not all(unicodedata.category(letter)[0] == "P" for letter in word)
        )

    def tokenize(self, sent: str) -> str:
        text = self.tokenizer(sent)
        if self.punctuation_removal:
            text = self.remove_punctuation(text)
        if self.character_tokenization:
            text = self.SPACE.join(text.replace(self.SPACE, self.SPACE_ESCAPE))
        return text.lower() if self.lowercase else text
