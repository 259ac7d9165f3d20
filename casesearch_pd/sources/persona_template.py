"""Case templates of Persona: the bytes of one in, its fields with types and options out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casesearch_pd.sources.persona_names import kebab
from casesearch_pd.sources.persona_plain import object_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Template", "TemplateField", "decode_template"]


@dataclass(frozen=True, slots=True)
class TemplateField:
    """One field of a case template; an option is its value and its label."""

    key: str
    type: str
    label: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """One case template."""

    id: str
    name: str
    fields: tuple[TemplateField, ...]


def decode_template(body: bytes) -> Template:
    """Read the bytes of a case template.

    Raises
    ------
    ValueError
        If the body holds no template.
    """
    told = object_of(body)
    attributes = kebab(told.get("attributes"))
    fields = tuple(_template_field(kebab(item)) for item in _list(attributes.get("field-schemas")))
    name = _text(told.get("id"))
    if not name or not all(item.key for item in fields):
        raise ValueError("the answer has a template without an id, or with a field without a key")
    return Template(name, _text(attributes.get("name")) or name, fields)


def _template_field(told: Mapping[str, Any]) -> TemplateField:
    key, config = _text(told.get("key")), kebab(told.get("config"))
    options = _list(config.get("options"))
    labels = _list(config.get("option-labels")) or options
    return TemplateField(
        key,
        _text(told.get("type")),
        _text(told.get("label")) or key,
        tuple((str(value), str(label)) for value, label in zip(options, labels, strict=False)),
    )


def _text(held: Any) -> str:
    return held if isinstance(held, str) else ""


def _list(held: Any) -> list[Any]:
    return held if isinstance(held, list) else []
