"""Everything LangChain: live templates, chains and models.

Nothing here searches or scores. `discover` finds a chain's prompts, `templates` converts them, and `target`
runs the chain under a candidate and writes a winner back.
"""
