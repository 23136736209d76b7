"""The scheduler's own rules: who is silent, and who decides. Pure."""
