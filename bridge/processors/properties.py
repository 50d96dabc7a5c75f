"""Reads a processor's configuration as the real server does: same checks, same texts, nothing left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.errors import BridgeError, InvalidRequest

_JAVA = {
    str: "java.lang.String",
    bool: "java.lang.Boolean",
    int: "java.lang.Integer",
    float: "java.lang.Double",
    list: "java.util.ArrayList",
    dict: "java.util.HashMap",
}


def java_type(value: Any) -> str:
    """The class name that the real server's message shows for a JSON value."""
    return _JAVA.get(type(value), "java.lang.Double")


class InternalConfiguration(BridgeError):
    """A configuration that the reference answers with 500."""

    status = 500
    default_kind = "exception"


class Properties:
    """The configuration of one processor; each reader takes its key away, `finish` refuses the rest. The real server
    does not name the processor when one of the keys that all have (tag, ...) is wrong: `anonymous`.

    All raise InvalidRequest of type parse_exception, naming processor_type and property_name.
    """

    def __init__(
        self, kind: str, config: Mapping[str, Any], *, tag: str | None = None, anonymous: bool = False
    ) -> None:
        self._kind = kind
        self._anonymous = anonymous
        self._config = dict(config)
        self._tag = tag

    def wrong(self, name: str | None, reason: str) -> InvalidRequest:
        details: dict[str, Any] = {} if self._anonymous else {"processor_type": self._kind}
        if self._tag is not None:
            details["processor_tag"] = self._tag
        if name is not None:
            details["property_name"] = name
            reason = f"[{name}] {reason}"
        return InvalidRequest(reason, kind="parse_exception", **details)

    def not_a_map(self, value: Any) -> InvalidRequest:
        """The whole configuration is something else than an object."""
        return self.wrong(None, f"property isn't a map, but of type [{java_type(value)}]")

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if value is None:
            raise self.wrong(name, "required property is missing")
        return value

    def optional_text(self, name: str) -> str | None:
        value = self._config.pop(name, None)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(name, f"property isn't a string, but of type [{java_type(value)}]")

    def mapping(self, name: str) -> dict[str, Any]:
        value = self._config.pop(name, None)
        if value is None:
            raise self.wrong(name, "required property is missing")
        if not isinstance(value, dict):
            raise self.wrong(name, f"property isn't a map, but of type [{java_type(value)}]")
        return value

    def optional_mapping(self, name: str) -> dict[str, Any]:
        """Empty when absent."""
        return self.mapping(name) if self._config.get(name) is not None else self._config.pop(name, None) or {}

    def optional_list(self, name: str) -> list[Any]:
        """Empty when absent."""
        value = self._config.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(name, f"property isn't a list, but of type [{java_type(value)}]")
        return value

    def integer(self, name: str, default: int) -> int:
        value = self._config.pop(name, None)
        if value is None:
            return default
        try:
            if isinstance(value, (bool, list, dict)):
                raise TypeError
            return int(str(value))
        except (TypeError, ValueError):
            raise self.wrong(name, f"property cannot be converted to an int [{value}]") from None

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._config.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, f"property isn't a boolean, but of type [{java_type(value)}]")
        return value

    def finish(self) -> None:
        if self._config:
            names = ", ".join(self._config)
            raise self.wrong(
                None,
                f"processor [{self._kind}] doesn't support one or more provided configuration parameters [{names}]",
            )

    def finish_search(self) -> None:
        """As `finish`, in the words that search pipelines have for it."""
        if self._config:
            names = ", ".join(self._config)
            raise InvalidRequest(
                f"processor [{self._kind}] doesn't support one or more provided configuration parameters: [{names}]",
                kind="parse_exception",
            )
