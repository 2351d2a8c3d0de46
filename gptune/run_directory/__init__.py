"""The disk: the run directory, its owner, and the event log."""

from gptune.run_directory.event_log import EventLog
from gptune.run_directory.file_system import Disk, FileSystem

__all__ = ["Disk", "EventLog", "FileSystem"]
