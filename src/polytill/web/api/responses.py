"""The base of all response bodies: one class for each noun, which is both returned and documented.

A body is a ``msgspec.Struct``: built from a stored record, never validated, and encoded without a dict in between. Its
fields, their types and descriptions are its schema in the OpenAPI document as well. A field that a record has under the
same name is therefore one line here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from operator import attrgetter, itemgetter
from typing import Annotated, Any, NamedTuple, Self, Union, cast, get_args, get_type_hints

import msgspec
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, create_model
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema
from starlette.responses import Response

from polytill.domain.clock import wire_time

Moment = Annotated[str, Field(description="RFC 3339, UTC, milliseconds", examples=["2026-11-22T10:00:00.000Z"])]
Minor = Annotated[int, Field(description="Integer minor units of the currency")]

_encode = msgspec.json.Encoder().encode


class ResponseBody(msgspec.Struct, rename=to_camel):
    """A response: camelCase; every field is always present unless its description says otherwise."""

    @classmethod
    def from_record(cls, record: Any, /, **given: Any) -> Self:
        """A body of this class. Fields that are not ``given`` are copied from the attributes of the same name; times are
        written as the API writes them. Raises ``AttributeError`` for a field that the record does not have."""
        plan = _plan(cls, tuple(given))
        times = map(wire_time, plan.times(record))
        return cls(*plan.order((*plan.others(record), *times, *given.values())))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the OpenAPI document, which pydantic writes; nothing is validated with it."""
        return handler(_documented(cls))


class _Plan(NamedTuple):
    """How to read a record: getters of what is copied, and the order of the fields in what they return and is given.

    A response to a payment is built by it, so all of this runs in C.
    """

    others: Callable[[Any], tuple[Any, ...]]
    times: Callable[[Any], tuple[Any, ...]]
    order: Callable[[tuple[Any, ...]], tuple[Any, ...]]


@functools.cache
def _plan(cls: type[ResponseBody], given: tuple[str, ...]) -> _Plan:
    hints = get_type_hints(cls, include_extras=True)
    copied = [name for name in cls.__struct_fields__ if name not in given]
    times = [name for name in copied if Moment in (hints[name], *get_args(hints[name]))]
    others = [name for name in copied if name not in times]
    found = [*others, *times, *given]
    return _Plan(
        _all(attrgetter, others), _all(attrgetter, times), _all(itemgetter, map(found.index, cls.__struct_fields__))
    )


def _all(getter: Any, names: Iterable[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """A getter of several values, which always returns a tuple."""
    found = tuple(names)
    if len(found) > 1:
        return cast("Callable[[Any], tuple[Any, ...]]", getter(*found))
    return lambda record: tuple(getter(name)(record) for name in found)


@functools.cache
def _documented(cls: type[ResponseBody]) -> type[BaseModel]:
    """A model with the same fields, only for its schema."""
    hints = get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {}
    for one in msgspec.structs.fields(cls):
        hint, default = hints[one.name], ... if one.required else one.default
        if default is msgspec.UNSET:
            hint = Union[tuple(arg for arg in get_args(hint) if arg is not msgspec.UnsetType)]  # noqa: UP007
            default = Field(default_factory=lambda: None)
        fields[one.name] = (hint, default)
    model: type[BaseModel] = create_model(
        cls.__name__,
        __config__=ConfigDict(alias_generator=to_camel),
        __doc__=cls.__doc__,
        __module__=cls.__module__,
        **fields,
    )
    return model


def respond(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A finished JSON response, which skips the framework's response model."""
    return Response(_encode(body), status, headers, "application/json")
