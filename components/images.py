"""Container image of each component; `use_venv`-less local runs ignore it."""

REGISTRY = "oaml"
TAG = "0.1.0"


def image(component: str, registry: str = REGISTRY) -> str:
    """Reference of the image that `component` runs in."""
    return f"{registry}/{component}:{TAG}"
