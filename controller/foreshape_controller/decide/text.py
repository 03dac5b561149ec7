"""Rules that people write as YAML, read strictly: mappings with known keys, each once. Pure."""

from collections.abc import Mapping
from typing import Any

import yaml

from foreshape_controller.errors import ConfigError


class _Once(yaml.SafeLoader):
    """A key that stands twice is a mistake, not a choice."""


def _unique(loader: _Once, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = next((k for i, k in enumerate(keys) if k in keys[:i]), None)
    if twice is not None:
        raise ConfigError(f"{loader.name}, line {node.start_mark.line + 1}: {twice!r} stands twice in one place")
    return dict(zip(keys, [loader.construct_object(value, deep=True) for _, value in node.value], strict=True))


_Once.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique)


def read_yaml(text: str, file: str) -> dict[str, Any]:
    """The mapping that a text holds; empty text holds none. Raises ConfigError naming ``file`` and the line."""

    def load() -> Any:
        loader = _Once(text)
        loader.name = file
        return loader.get_single_data()

    try:
        return mapping(load(), file)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as e:
        raise ConfigError(f"{file} is not YAML: {' '.join(str(e).split())}") from e


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A mapping with words as keys; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise ConfigError(f"{where}: keys and values are wanted here, not {value!r}")
    return value


def only(content: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raises ConfigError for a key that is not known."""
    unknown = [k for k in content if k not in known]
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
