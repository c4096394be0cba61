"""Tells a fault of disk or database in words, where a traceback would say less."""

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from sweep.errors import EnvironmentFault
from sweep.patience import reason
from sweep.storage import shown

# What the disk or the database raises, here or in what stands between.
FAULTS = (OSError, SQLAlchemyError, StorageInternalError, EnvironmentFault)
MENDED = "What was recorded is kept; once that is mended, the same line goes on."


@contextmanager
def explained(storage: str) -> Iterator[None]:
    """Says in words that disk or database failed. Trials that ran are then found by the next session.

    Raises:
        EnvironmentFault: They did.
    """
    try:
        yield
    except (OSError, SQLAlchemyError, StorageInternalError) as error:
        raise EnvironmentFault(
            f"disk or database failed in the middle of the sweep: {reason(error)} (STORAGE {shown(storage)})\n" + MENDED
        ) from error
