"""The names of classes: the symbols of a label dictionary that are neither special nor there to fill it up.

>>> labels = Dictionary()
>>> for symbol in ("yes", "no", "madeupword0000", "<mask>"):
...     _ = labels.add_symbol(symbol)
>>> class_names(labels)
['yes', 'no']
"""

from fairseq.data.dictionary import Dictionary


def class_names(dictionary: Dictionary) -> list[str]:
    """Labels in the order of their classes: class c is symbol `nspecial + c`."""
    names = [dictionary[index] for index in range(dictionary.nspecial, len(dictionary))]
    return [name for name in names if name != "<mask>" and not name.startswith("madeupword")]
