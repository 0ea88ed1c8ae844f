"""Settings: `promptopt.toml`, `PROMPTOPT_*` variables, flags; from weak to strong."""

from langchain_promptopt.config.loading import (
    CONFIG_NAME,
    config_for_failures,
    config_from_dict,
    load_config,
    toml_text,
    with_values,
)
from langchain_promptopt.config.schema import (
    BudgetConfig,
    Config,
    DataConfig,
    EvaluateConfig,
    GateConfig,
    LangSmithConfig,
    OptimizeConfig,
    OutputConfig,
    PriceConfig,
    TaskConfig,
)

__all__ = [
    "CONFIG_NAME",
    "BudgetConfig",
    "Config",
    "DataConfig",
    "EvaluateConfig",
    "GateConfig",
    "LangSmithConfig",
    "OptimizeConfig",
    "OutputConfig",
    "PriceConfig",
    "TaskConfig",
    "config_for_failures",
    "config_from_dict",
    "load_config",
    "toml_text",
    "with_values",
]
