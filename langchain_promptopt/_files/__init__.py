"""Prompt files: saved prompts, and the places in text, YAML, JSON and Python files where a prompt is written."""
