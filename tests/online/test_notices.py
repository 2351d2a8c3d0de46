"""Warnings are said once, and cannot flood."""

import pytest

from gptune.online.notices import MESSAGES, Notices


def test_each_message_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    for message in ("one", "other", "one"):
        notices.say(message)
    assert [record.message for record in caplog.records] == ["gptune: one", "gptune: other"]


def test_a_run_cannot_flood_its_log(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    for number in range(MESSAGES + 10):
        notices.say(f"message {number}")
    assert len(caplog.records) == MESSAGES
