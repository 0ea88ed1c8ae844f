"""Offline models: real programs that stand in for a task model and an optimizer model, free and instant.

The task model follows the labels, rules and answer form it reads in the prompt; the optimizer
model derives its edits from the errors it is shown. Neither sees reference answers by another way
than the messages. They exist for demos, tests and dry runs: **their scores say nothing about real
models**, neither how good a prompt is nor how much an optimization would gain.
"""

from langchain_promptopt.offline.demo import demo_prompt, demo_rows
from langchain_promptopt.offline.optimizer import OfflineOptimizerModel, Role, factories, label_prompt, offline_model
from langchain_promptopt.offline.task import OfflineTaskModel

__all__ = [
    "OfflineOptimizerModel",
    "OfflineTaskModel",
    "Role",
    "demo_prompt",
    "demo_rows",
    "factories",
    "label_prompt",
    "offline_model",
]
