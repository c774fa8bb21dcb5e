"""What the log says of mistakes that clients make: one line, not a traceback."""

import logging

from serving.predictors.errors import ClientGone, Overloaded, is_our_fault

# Thousands a second where there are too many clients; the metrics count them.
QUIET = (Overloaded, ClientGone)

logger = logging.getLogger(__name__)


def log_error(error: Exception) -> None:
    """Say what a request failed on: its traceback for our own faults only."""
    if is_our_fault(error):
        logger.error("a request failed", exc_info=error)
    elif not isinstance(error, QUIET):
        logger.warning("refused: %s", error)


class OneLineForClients(logging.Filter):
    """KServe logs every error that its own routes answer with its traceback, whoever made it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Make a warning of one line of a client's mistake; leave our own faults as they are."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Exception) and not is_our_fault(error):
            record.msg, record.args, record.exc_info = "refused: %s", (str(error),), None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True
