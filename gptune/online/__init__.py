"""Tuning while training: metric in, decision out."""
