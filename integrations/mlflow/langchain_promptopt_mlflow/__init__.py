"""MLflow's prompt registry as the place where proven prompts are published."""

from langchain_promptopt_mlflow.sink import MlflowPrompts

__all__ = ["MlflowPrompts"]
