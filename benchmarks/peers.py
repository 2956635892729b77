"""Other observable objects: the same twelve fields, the same rule, and observers that do next to nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from benchmarks import bare

if TYPE_CHECKING:
    from collections.abc import Callable


class Observable(Protocol):
    """An object whose temperature can be set and observed."""

    def set(self, value: float) -> object:
        """Give the temperature a new value; one above 2 is refused."""

    def observe(self, listener: Callable[[Any], None]) -> object:
        """Have a listener called with every change of it."""


class Traitlets:
    """Plain traitlets with ``@validate``."""

    def __init__(self) -> None:
        self._traits = bare.Traits()
        self.set = partial(setattr, self._traits, "temperature")

    def observe(self, listener: Callable[[Any], None]) -> None:
        """Have a listener called with every change of it."""
        self._traits.observe(listener, "temperature")


class Psygnal:
    """psygnal's ``EventedModel``, which is a pydantic model."""

    def __init__(self) -> None:
        from psygnal import EventedModel
        from pydantic import ConfigDict, Field

        class Config(EventedModel):
            model_config = ConfigDict(validate_assignment=True)

            name: str = "gpt"
            provider: str = "openai"
            model: str = "gpt-5.4-mini"
            base_url: str | None = None
            organization: str | None = None
            temperature: float | None = Field(0.5, ge=0, le=2)
            top_p: float | None = None
            max_tokens: int | None = None
            seed: int | None = None
            store: bool | None = None
            headers: dict[str, str] = Field(default_factory=dict)
            tags: tuple[str, ...] = ()

        # Its annotations are texts here, and what they mean is imported in this function.
        Config.model_rebuild(_types_namespace={**locals()})
        self._model = Config()
        self.set = partial(setattr, self._model, "temperature")

    def observe(self, listener: Callable[[Any], None]) -> None:
        """Have a listener called with every change of it."""
        self._model.events.temperature.connect(listener)


class Param:
    """A ``param.Parameterized`` with bounds."""

    def __init__(self) -> None:
        import param

        class Config(param.Parameterized):
            title = param.String("gpt")
            provider = param.String("openai")
            model = param.String("gpt-5.4-mini")
            base_url = param.String(None, allow_None=True)
            organization = param.String(None, allow_None=True)
            temperature = param.Number(0.5, bounds=(0, 2), allow_None=True)
            top_p = param.Number(None, allow_None=True)
            max_tokens = param.Integer(None, allow_None=True)
            seed = param.Integer(None, allow_None=True)
            store = param.Boolean(None, allow_None=True)
            headers = param.Dict({})
            tags = param.Tuple((), length=0)

        self._object = Config()
        self.set = partial(setattr, self._object, "temperature")

    def observe(self, listener: Callable[[Any], None]) -> None:
        """Have a listener called with every change of it."""
        self._object.param.watch(listener, "temperature")


ALL: Final[dict[str, Callable[[], Observable]]] = {
    "traitlets @validate": Traitlets,
    "psygnal EventedModel": Psygnal,
    "param": Param,
}
