"""What to try next. Tensors in, tensors out; no disk, no clock, no framework.

Everything here is float64 on the CPU, whatever the model in training uses.
"""
