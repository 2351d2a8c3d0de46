"""Warnings for the user: each is said once, and a run cannot flood its log with them."""

import logging

logger = logging.getLogger("gptune")
MESSAGES = 100  # different warnings before silence


class Notices:
    """Says each message once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Warn, unless it was said before."""
        if message not in self._said and len(self._said) < MESSAGES:
            self._said.add(message)
            logger.warning("gptune: %s", message)
