"""Ways of finding a model's answers to all coalitions, from plain forwards to shortcuts."""
