"""Automatic adjustment: watch a deployed model, re-tune when it slips, compare, hand over."""
