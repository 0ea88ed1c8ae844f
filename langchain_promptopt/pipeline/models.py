"""Models of a configuration: by name, with the endpoint and sampling that it sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt._langchain.models import resolve_model
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.offline import factories
from langchain_promptopt.pipeline.tasks import import_object, is_own_code
from langchain_promptopt.steps.base import takes_temperature

if TYPE_CHECKING:
    from langchain_promptopt.config import Config, OptimizeConfig, TaskConfig


def optimizer_of(config: Config) -> Any:
    """The optimizer model: as `configured_model`, or a chat model of the user's own code, "module:object".

    Raises ConfigError where the object is no model, or an endpoint is set beside it.
    """
    section = config.optimize
    if section.model is None or not is_own_code(section.model, config.root):
        return configured_model(section, "optimizer")
    where = f"optimize.model = {section.model!r}"
    if section.base_url is not None:
        msg = f"a model made in code has its own endpoint, and base_url is {section.base_url!r}"
        raise ConfigError(msg, where=where, mend="Give the model its base_url where it is made.")
    found = import_object(section.model, config.root, "optimize.model")
    try:
        return _sampled(resolve_model(found, "optimizer"), section)
    except ConfigError as error:
        raise ConfigError(
            error.what, where=where, mend="Name a chat model, or a tuple of openai client and name."
        ) from error


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
    return _sampled(resolve_model(name, role, base_url=section.base_url), section)


def _sampled(model: Any, section: TaskConfig | OptimizeConfig) -> Any:
    """The model with the sampling that the section sets and that it takes."""
    wanted: dict[str, Any] = {}
    if section.temperature is not None and takes_temperature(model):
        wanted["temperature"] = section.temperature
    if section.max_tokens is not None and "max_tokens" in type(model).model_fields:
        wanted["max_tokens"] = section.max_tokens
    return model.model_copy(update=wanted) if wanted else model


def forced_sampling(section: OptimizeConfig, model: Any) -> dict[str, Any]:
    """What goes out with every optimizer call whatever the method says: a temperature that the user has set."""
    if section.temperature is None or isinstance(model, str | None) or not takes_temperature(model):
        return {}
    return {"temperature": section.temperature}
