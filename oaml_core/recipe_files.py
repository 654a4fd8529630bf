"""Recipes by their names: YAML files that come with OAML, or the user's own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from oaml_core.errors import ConfigError, nearest

RECIPES = Path(__file__).with_name("recipes")
"""Folder of the recipes that come with OAML."""


def find_recipe(name: str) -> Path:
    """Return the file of a recipe.

    Args:
        name: path of a YAML file, or name of a recipe that comes with OAML, such as `ir50_ms1mv2`.

    Raises:
        ConfigError: there is no such file and no such recipe; the nearest is suggested.
    """
    with suppress(OSError, ValueError):  # too long for a name, or with a NUL
        if Path(name).is_file():
            return Path(name)
    recipes = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    if name in recipes:
        return recipes[name]
    hint = nearest(Path(name).stem, recipes)
    raise ConfigError(f"There is no recipe {name}.{hint} OAML comes with: {', '.join(recipes)}.")
