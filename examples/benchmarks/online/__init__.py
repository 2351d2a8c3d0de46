"""Does tuning a live run help, and does it do no harm? gptune and its rivals in ordinary loops.

``python -m examples.benchmarks.online --quick`` takes under five minutes on two cores; ``--full``
measures everything and can be stopped and continued. Every exploratory step of every method is
counted: a run takes the same number of optimizer steps whatever the method.
"""
