"""Tuning before training: studies of trials, kept in SQLite, on the same Gaussian process."""
