"""From a tree of texts to a checked model, or every mistake in it with line and key."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from gateway.errors import Mistake
from gateway.registry.yamltext import Document, Path, Tree

__all__ = ["Written", "validate", "without_wrong"]


class Written(BaseModel):
    """Something people write as keys and values: unknown keys are mistakes, a key without value is absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _keys_and_values(cls, value: Any) -> Any:
        if value is None:
            return {}
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError("expected keys and values")  # noqa: TRY004  pydantic reports ValueError
        return {k: v for k, v in value.items() if v is not None or k not in _keys(cls)}

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values; they are not checked."""
        return self.model_copy(update=values)


M = TypeVar("M", bound=Written)


def validate(model: type[M], tree: Tree, document: Document, path: Path = ()) -> M | list[Mistake]:
    """Return the model read from a tree that stands at `path` of a document, or all its mistakes."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        return [
            document.mistake((*path, *_place(found["loc"])), _words(found, model))
            for found in error.errors(include_url=False, include_input=True)
        ]


def without_wrong(model: type[M], tree: Tree, spare: frozenset[str]) -> M | None:
    """Return the model read from a tree without what is wrong in it, where nothing else hangs on that; else None.

    Left out are unknown keys that are no misspelling, keys in `spare`, and whole items below `WHOLE`.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        rest = deepcopy(tree)
        for found in error.errors(include_url=False, include_input=False):
            place = _to_leave_out(model, found["type"], _place(found["loc"]), spare)
            if place is None:
                return None
            _leave_out(rest, place)
    try:
        return model.model_validate(_compact(rest))
    except ValidationError:
        return None


WHOLE = frozenset({"channels", "points"})


def _to_leave_out(model: type[Written], kind: str, place: Path, spare: frozenset[str]) -> Path | None:
    if kind == "extra_forbidden" and not get_close_matches(str(place[-1]), _known(model, place[:-1]), n=1):
        return place
    for end in range(len(place), 0, -1):
        if place[end - 1] in spare:
            return place[:end]
        if end > 1 and place[end - 2] in WHOLE:
            return place[:end]
    return None


def _leave_out(tree: Any, place: Path) -> None:
    """Let what stands at a place be absent; a list keeps its numbers until it is made compact."""
    for part in place[:-1]:
        if isinstance(tree, dict):
            tree = tree.get(str(part))
        elif isinstance(tree, list) and isinstance(part, int):
            tree = tree[part]
    if isinstance(tree, dict):
        tree.pop(str(place[-1]), None)
    elif isinstance(tree, list) and isinstance(place[-1], int):
        tree[place[-1]] = ...


def _compact(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _compact(value) for key, value in tree.items()}
    return [_compact(value) for value in tree if value is not ...] if isinstance(tree, list) else tree


def _place(loc: tuple[int | str, ...]) -> Path:
    """Return where the mistake stands; pydantic appends `[key]` where a key itself is wrong."""
    return tuple(part for part in loc if part != "[key]")


def _words(found: Any, model: type[Written]) -> str:
    """Return what is wrong, in words for the person who wrote it."""
    kind, loc, context = found["type"], found["loc"], found.get("ctx") or {}
    match kind:
        case "value_error":
            words = str(context["error"])
        case "missing":
            words = "is missing"
        case "extra_forbidden":
            words = _unknown(str(loc[-1]), _known(model, loc[:-1]))
        case "enum" | "literal_error":
            shown = repr(found["input"][:40]) if isinstance(found["input"], str) else "this"
            words = f"{shown} is not one of {_plain(context['expected'])}"
        case "list_type" | "tuple_type":
            words = "expected a list"
        case "dict_type":
            words = "expected keys and values"
        case _:
            words = str(found["msg"])
    return words


def _plain(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")


def _unknown(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1)
    return "unknown key; " + (f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}")


def _known(model: type[Written], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the model that stands at a place below another."""
    at: Any = model
    for part in loc:
        inner = [at]
        if isinstance(at, type) and issubclass(at, Written):
            inner = [f.annotation for name, f in at.model_fields.items() if part in {name, f.alias}]
        at = next((m for annotation in inner for m in _models(annotation)), at)
    return _keys(at)


def _models(annotation: Any) -> list[type[Written]]:
    if isinstance(annotation, type) and issubclass(annotation, Written):
        return [annotation]
    return [m for inner in get_args(annotation) for m in _models(inner)]


def _keys(model: type[Written]) -> list[str]:
    return [f.alias or name for name, f in model.model_fields.items()]
