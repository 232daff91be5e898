"""Lines of input -> the texts that they hold.

    parser = LineParser(["question", "answer"], as_json=False)
    parser.texts(b"Is it on?\\tThe lamp is lit.")       # ("Is it on?", "The lamp is lit.")

A line of text is one text, or two with a tab between them where the model reads pairs. A line of JSON is an object with
the columns of the training table, a list of texts, or a string. `waiting_lines` gives lines as they arrive.

>>> LineParser(["review"], as_json=True).texts(b'{"id": 7, "review": "Good."}')
('Good.',)
>>> LineParser(["review"], as_json=True).texts(b'{"text": "Good."}')
Traceback (most recent call last):
...
fairseq.errors.DataError: no 'review' in it, but text
"""

import json
import os
import select
import stat
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from fairseq.errors import DataError, reason, shortened

CHUNK = 1 << 16  # bytes read at a time
PATIENCE = 0.02  # seconds to wait for more lines before those that are there are predicted


class LineParser:
    """Reads lines.

    Args:
        columns: names of the texts; None where the checkpoint does not say: a tab then makes a line a pair.
        as_json: lines are JSON.
    """

    def __init__(self, columns: Optional[Sequence[str]], as_json: bool):
        self.columns, self.as_json = columns, as_json

    def texts(self, line: bytes) -> tuple[str, ...]:
        """The one or two texts of a line without its line end.

        Raises:
            DataError: it holds something else; says what.
        """
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8 (byte {error.start})") from None
        texts = self._json(text) if self.as_json else self._plain(text)
        wanted = None if self.columns is None else len(self.columns)
        if wanted is not None and len(texts) != wanted:
            between = " with a tab between them" if not self.as_json else ""
            raise DataError(f"{len(texts)} texts, the model reads {wanted}{between if wanted > 1 else ''}")
        return texts

    def _plain(self, text: str) -> tuple[str, ...]:
        if self.columns is not None and len(self.columns) == 1:
            return (text,)
        texts = tuple(text.split("\t"))
        if len(texts) > 2:
            reads = "two" if self.columns else "one or two"
            raise DataError(f"{len(texts)} texts with tabs between them, the model reads {reads}")
        return texts

    def _json(self, text: str) -> tuple[str, ...]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"no JSON ({reason(error)})") from None
        if isinstance(value, dict):
            value = self._of_object(value)
        texts = [value] if not isinstance(value, list) else value
        for each in texts:
            if not isinstance(each, str):
                raise DataError(f"expected texts, found {shortened(each, 40)}")
            try:
                each.encode()
            except UnicodeEncodeError:
                raise DataError("half of a surrogate pair, which is no text") from None
        if not 1 <= len(texts) <= 2:
            raise DataError(f"a list of {len(texts)}, one or two texts are expected")
        return tuple(texts)

    def _of_object(self, value: dict[str, Any]) -> list[Any]:
        if self.columns is None:
            raise DataError("an object, but the checkpoint does not name its columns; give a string or a list")
        for name in self.columns:
            if name not in value:
                raise DataError(f"no {name!r} in it, but {', '.join(list(value)[:6]) or 'nothing'}")
        texts = [value[name] for name in self.columns]
        return ["" if text is None else str(text) if isinstance(text, (int, float)) else text for text in texts]


def waiting_lines(descriptor: int, most: int) -> Iterator[list[bytes]]:
    """Lines of a file or pipe, without line ends: as many as have arrived, at most `most` at a time.

    While none arrives, nothing is returned; so what follows works on each line soon, and on many at once where it can.
    """
    held, ended = b"", False
    lines: list[bytes] = []
    while not ended or lines:
        while not ended and len(lines) < most:
            patience = PATIENCE if lines else None
            if not select.select([descriptor], [], [], patience)[0]:
                break
            data = os.read(descriptor, CHUNK)
            ended = not data
            *complete, held = (held + data).split(b"\n")
            lines += complete
            if ended and held:
                lines.append(held)
        if lines:
            yield [line.removesuffix(b"\r") for line in lines[:most]]
            lines = lines[most:]


def count_lines(descriptor: int) -> Optional[int]:
    """How many lines a file has from where it stands; None for a pipe or a terminal."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    position, count, last = os.lseek(descriptor, 0, os.SEEK_CUR), 0, b"\n"
    while data := os.pread(descriptor, 1 << 20, position):
        position += len(data)
        count += data.count(b"\n")
        last = data
    return count + (not last.endswith(b"\n"))
