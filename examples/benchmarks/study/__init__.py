"""Studies beside Optuna's: regret on scikit-learn's models and data, and bookkeeping on SQLite.

python -m examples.benchmarks.study [--quick] [--json FILE]
"""
