"""Models of a configuration: by name, with the endpoint and sampling that it sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.models import resolve_model
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.offline import factories
from langchain_promptopt.steps.base import takes_temperature

if TYPE_CHECKING:
    from langchain_promptopt.config import OptimizeConfig, TaskConfig


def configured_model(section: TaskConfig | OptimizeConfig, role: str) -> Any:
    """The section's model: its plain name where nothing else is set, else a model with those settings.

    Sampling is sent only where the model takes it; what is sent is part of the model's identity in
    the run's record. Raises ConfigError for an endpoint of a built-in model.
    """
    name = section.model
    if name is None or (section.base_url is None and section.temperature is None and section.max_tokens is None):
        return name
    if name in factories():
        if section.base_url is not None:
            msg = f"the built-in model {name!r} has no endpoint, and base_url is {section.base_url!r}"
            raise ConfigError(msg, where=f"{role} model", mend='Name the model served there, as "openai:name".')
        return name  # a program takes no sampling
    model = resolve_model(name, role, base_url=section.base_url)
    wanted: dict[str, Any] = {}
    if section.temperature is not None and takes_temperature(model):
        wanted["temperature"] = section.temperature
    if section.max_tokens is not None and "max_tokens" in type(model).model_fields:
        wanted["max_tokens"] = section.max_tokens
    return model.model_copy(update=wanted)


def forced_sampling(section: OptimizeConfig, model: Any) -> dict[str, Any]:
    """What goes out with every optimizer call whatever the method says: a temperature that the user has set."""
    if section.temperature is None or isinstance(model, str | None) or not takes_temperature(model):
        return {}
    return {"temperature": section.temperature}
