"""What ``gptune watch`` draws: what is remembered of a run, and how it is shown. All pure."""
