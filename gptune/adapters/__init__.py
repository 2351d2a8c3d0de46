"""Ways to switch gptune on where people train. Each adapter imports its framework alone."""
