"""What the log says of mistakes that clients make: one line, not a traceback."""

import logging

from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady

CLIENTS = (InvalidInput, ModelNotFound, ModelNotReady, NotImplementedError)


class OneLineForClients(logging.Filter):
    """KServe logs every error that it answers with its traceback, whoever made it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Make a warning of one line of a client's mistake; leave our own faults as they are."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, CLIENTS):
            record.msg, record.args, record.exc_info = "refused: %s", (str(error),), None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True
