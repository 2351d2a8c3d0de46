"""What gptune costs."""
