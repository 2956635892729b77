"""Names that a provider's field must not have, since records and documents use them."""

from __future__ import annotations

import keyword
from typing import Final

from orchstate.models.config import ConfigDocument

# What every record offers, and what a config adds to it.
RECORD_NAMES: Final = frozenset(
    "aask acheck aclient active aexplain amodels ask astamp astream check client collection create "
    "definition delete discard document document_class duplicate environment error explain fingerprint "
    "form get history items keys models origin pop put_away receipt record refresh reset restore retry "
    "revision run secrets self set set_secret show stamp store stream sync_state tell to_dict to_frame "
    "to_kwargs undo update validation values".split()
)
# What traitlets.HasTraits offers; written down, so that reading a definition needs no traitlets.
TRAITLETS_NAMES: Final = frozenset(
    "add_traits class_own_trait_events class_own_traits class_trait_names class_traits cross_validation_lock "
    "has_trait hold_trait_notifications notify_change observe on_trait_change set_trait setup_instance "
    "trait_defaults trait_events trait_has_value trait_metadata trait_names trait_values traits unobserve "
    "unobserve_all".split()
)
# What the frames of the history and of all configs have in columns of their own.
COLUMN_NAMES: Final = frozenset("actor at op ready seq".split())
RESERVED: Final = (
    RECORD_NAMES
    | TRAITLETS_NAMES
    | COLUMN_NAMES
    | frozenset(dir(ConfigDocument))
    | frozenset(ConfigDocument.model_fields)
)


def name_problem(name: str) -> str:
    """Return why `name` cannot be a field's name, ``""`` if it can.

    Examples
    --------
    >>> name_problem("temperature"), name_problem("top-p")
    ('', 'it is not a Python name, such as top_p')
    """
    if not (name.isidentifier() and name.isascii()):
        return "it is not a Python name, such as top_p"
    if name.startswith("_") or keyword.iskeyword(name):
        return "Python keeps such names for itself"
    if name in RESERVED:
        return "every config has something else under this name already"
    return ""
