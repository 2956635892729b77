"""pydantic's errors, said in our words: the value, the rule, the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_origin

from orchstate.errors import Issue, ValidationError
from orchstate.models.key_shapes import shown
from orchstate.models.secret import SecretRef

if TYPE_CHECKING:
    import pydantic
    from pydantic import BaseModel

WANTED: Final = (
    "needs a reference to a secret: type the key in the form, assign it as text, or orch.env('NAME')."
)
_RULES = {
    "less_than_equal": "is too large: at most {le} is allowed",
    "less_than": "is too large: it has to be below {lt}",
    "greater_than_equal": "is too small: at least {ge} is allowed",
    "greater_than": "is too small: it has to be above {gt}",
    "float_type": "is not a number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "bool_type": "is neither True nor False",
    "string_type": "is not text",
    "finite_number": "is not a finite number",
    "literal_error": "is not one of {expected}",
    "string_too_long": "is too long: at most {max_length} characters are allowed",
    "string_too_short": "is too short: at least {min_length} characters are needed",
    "tuple_type": "is not a list of values",
    "dict_type": "is not a mapping such as {{'name': 'value'}}",
    "missing": "is needed",
}


def to_issues(error: pydantic.ValidationError, model: type[BaseModel]) -> list[Issue]:
    """Return one issue per fault, without ever quoting what was meant for a secret field or is in a map."""
    return [
        Issue(_path(fault["loc"]), "error", _sentence(fault, _annotation(model, fault["loc"])))
        for fault in error.errors(include_url=False)
    ]


def _path(loc: tuple[Any, ...]) -> str:
    # Positions inside lists and maps stay in the path in brackets' stead: headers.X-Title.
    return ".".join(str(part) for part in loc)


def _sentence(fault: Any, annotation: Any) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "value_error":
        return _reason(context.get("error"), fault["msg"])
    if annotation is SecretRef:
        return WANTED
    rule = _RULES.get(fault["type"])
    text = rule.format(**context) if rule else f"is not valid: {fault['msg']}"
    if fault["type"] == "missing":
        return f"{text}."
    # A map of headers may hold a key, whatever its rules say.
    is_map = get_origin(annotation) is dict
    value = f"a value of the type {type(fault['input']).__name__}" if is_map else shown(fault["input"])
    return f"{value} {text}."


def _reason(error: object, otherwise: str) -> str:
    # Our own errors name the field already.
    issues = error.issues if isinstance(error, ValidationError) else ()
    return " ".join(issue.message for issue in issues) or str(error or otherwise)


def _annotation(model: type[BaseModel], loc: tuple[Any, ...]) -> Any:
    """Return what the field of a fault holds, None if there is no such field."""
    info = model.model_fields.get(str(loc[0])) if loc else None
    return info and info.annotation
