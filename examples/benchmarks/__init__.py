"""Benchmarks: each is a module with ``--quick``, ``--full`` and ``--json FILE``."""
