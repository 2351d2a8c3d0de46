"""The version, written once."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("gptune-torch")
except PackageNotFoundError:  # a source tree that was never installed
    VERSION = "0+unknown"
