"""Names that fields must not have."""

from __future__ import annotations

import traitlets

import orchstate
from orchstate.config import Config
from orchstate.models.config import ConfigDocument
from orchstate.providers.names import RESERVED, TRAITLETS_NAMES, name_problem


def test_everything_public_of_traitlets_is_reserved():
    public = {name for name in dir(traitlets.HasTraits) if not name.startswith("_")}
    assert public <= TRAITLETS_NAMES


def test_everything_a_document_has_is_reserved():
    assert {"id", "name", "tags", "provider", "auth", "stash", "replaced", "model_dump", "json"} <= RESERVED
    assert set(ConfigDocument.model_fields) <= RESERVED


def test_everything_a_config_offers_is_reserved():
    public = {name for name in dir(Config) if not name.startswith("_")}
    assert {"revision", "sync_state", "form", "check"} <= public
    assert public <= RESERVED


def test_the_fixed_columns_of_frames_are_reserved():
    with orchstate.open(":memory:") as store:
        store.configs.create("ollama", name="o")
        frames = [store.configs["o"].history(), store.configs.to_frame()]
    fixed = {str(column) for frame in frames for column in frame.columns} - {"model"}
    assert {"seq", "at", "op", "actor", "ready", "provider"} <= fixed <= RESERVED


def test_ordinary_names_are_free():
    names = ["model", "api_key", "base_url", "temperature", "seed", "topK"]
    assert [name_problem(name) for name in names] == [""] * len(names)


def test_names_that_look_alike_in_other_scripts_are_refused():
    # Python itself reads this as "file".
    assert "not a Python name" in name_problem("ﬁle")
