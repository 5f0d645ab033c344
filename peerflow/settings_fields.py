"""What the groups of settings are made of: fields with their meaning, and the types that several of them share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints


def setting(default: object, meaning: str, must_be: str, **constraints: Any) -> Any:
    """A field: `must_be` completes the sentence `PEERFLOW_X (value) must be …`."""
    return Field(default, description=meaning, json_schema_extra={"must_be": must_be}, **constraints)


def split(value: object) -> object:
    """`a, b` → `("a", "b")`; what is no text is left to the model."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Module = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
Modules = Annotated[tuple[Module, ...], BeforeValidator(split)]
Names = Annotated[tuple[Name, ...], BeforeValidator(split)]
