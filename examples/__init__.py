"""Short scripts that show gptune at work, and the benchmarks."""
