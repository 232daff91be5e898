"""Token ids against the dictionary: an id beyond it is found when the data is read, not in the middle of a model.

Elements are checked in blocks, each once, when the first item in it is read: opening takes no time, and reading costs
one pass over the file, spread over the first epoch.

>>> check = TokenCheck(np.array([4, 5, 9], np.uint16), range(8), lambda at: f"element {at}")
>>> check.look(0, 2)
Traceback (most recent call last):
...
fairseq.errors.DataError: element 2 is token 9, but the dictionary has ids 0 to 7; use the dict.txt that the data was \
prepared with, or preprocess the data again
"""

from collections.abc import Callable

import numpy as np

from fairseq.errors import DataError

_SHIFT = 20  # blocks of 2**20 elements


class TokenCheck:
    """Which blocks of elements have been checked.

    Args:
        elements: of the whole file.
        allowed: the ids that may occur, as stored.
        describe: the place of an element in words, for the message.
    """

    def __init__(self, elements: np.ndarray, allowed: range, describe: Callable[[int], str]):
        self._elements, self._allowed, self._describe = elements, allowed, describe
        self.left = -(-len(elements) >> _SHIFT)  # blocks not checked yet
        self._unseen = bytearray(b"\1") * self.left + b"\0"  # one more, for an empty last item
        self._unseen_array = np.frombuffer(self._unseen, np.uint8)

    def look(self, start: int, end: int) -> None:
        """Before the elements `start .. end - 1` are used.

        Raises:
            DataError: there is an id beyond the dictionary in their blocks.
        """
        for block in range(start >> _SHIFT, ((end - 1) >> _SHIFT) + 1):
            if self._unseen[block]:
                self._check(block)
                self._unseen[block] = 0
                self.left = int(self._unseen_array.sum())  # counted: threads may check one block at once

    def look_at_all(self, starts: np.ndarray, ends: np.ndarray) -> None:
        """`look` for many items at once."""
        unseen = self._unseen_array
        longest = int((ends - starts).max(initial=0))
        if unseen[starts >> _SHIFT].any() or unseen[ends >> _SHIFT].any() or longest > 1 << _SHIFT:
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                self.look(start, end)

    def _check(self, block: int) -> None:
        first = block << _SHIFT
        elements = self._elements[first : first + (1 << _SHIFT)]
        if int(elements.max()) < self._allowed.stop and (
            (elements.dtype.kind == "u" and not self._allowed.start) or int(elements.min()) >= self._allowed.start
        ):
            return
        wrong = (elements >= self._allowed.stop) | (elements < self._allowed.start)
        at = int(wrong.argmax())
        shift = self._allowed.start
        raise DataError(
            f"{self._describe(first + at)} is token {int(elements[at]) - shift}, but the dictionary has ids 0 to "
            f"{self._allowed.stop - shift - 1}; use the dict.txt that the data was prepared with, or preprocess the "
            "data again"
        )
