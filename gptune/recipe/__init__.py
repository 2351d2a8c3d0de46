"""Recipes from elsewhere: what another tool's file says, in gptune's words; the schema."""
