"""Data errors that code written for fairseq also catches by the builtin's name.

>>> issubclass(MissingDataError, FileNotFoundError), issubclass(DuplicateSymbolError, RuntimeError)
(True, True)
"""

from fairseq.errors import DataError


class MissingDataError(DataError, FileNotFoundError):
    """A data file or split that is not there."""


class DuplicateSymbolError(DataError, RuntimeError):
    """A dictionary file that names the same symbol twice."""


class LoadingError(DataError, RuntimeError):
    """A process that reads data has died."""
