"""The room for LangChain: live templates, chains, models and prompt files.

Nothing here searches or judges. `target` runs a user's chain under a candidate and writes a
winner back; `prompts` converts; `discover` finds; `files` and its neighbours store and patch.
"""
