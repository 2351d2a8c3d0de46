"""How fast a proposal is, and how good: gptune beside the packages that people use.

``python -m examples.benchmarks.proposal --quick`` takes under five minutes and gives the latencies
and a glance at regret and drift; ``--full`` gives all of it, keeps its rows and goes on where it
was stopped. Rivals: ``pip install -c .ci/constraints.txt -r examples/benchmarks/requirements.txt``.
"""
