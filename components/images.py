"""Container image of each component; `use_venv`-less local runs ignore it."""

REGISTRY = "oaml"
TAG = "0.1.0"


def image(component: str) -> str:
    """Reference of the image that `component` runs in."""
    return f"{REGISTRY}/{component}:{TAG}"
