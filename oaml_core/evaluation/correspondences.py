"""Which places of two faces the local evidence comes from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def strongest_correspondences(
    first: Tensor, second: Tensor, first_visibility: Tensor, second_visibility: Tensor, count: int = 8
) -> list[tuple[int, int, float]]:
    """Pairs of places that are each other's best match, weighted by how visible both are.

    Args:
        first: [C, h, w] feature map, raw or normalised over channels.
        second: [C, h, w].
        first_visibility: [1, h, w], in [0, 1].
        second_visibility: [1, h, w].
        count: pairs at most.

    Returns:
        (place in the first map, place in the second map, strength), strongest first; a place is row · w +
        column, the strength max(cosine, 0) · visibility · visibility, in [0, 1]. Pairs without strength are
        left out.
    """
    a = normalize(first.float().flatten(1), dim=0)
    b = normalize(second.float().flatten(1), dim=0)
    strength = (
        (a.T @ b).clamp(0, 1) * first_visibility.float().flatten()[:, None] * second_visibility.float().flatten()
    )
    best_of_first = strength.argmax(1)
    places = torch.arange(len(best_of_first), device=strength.device)
    mutual = places[strength.argmax(0)[best_of_first] == places]
    values = strength[mutual, best_of_first[mutual]]
    order = values.argsort(descending=True)[:count]
    return [
        (int(mutual[i]), int(best_of_first[mutual[i]]), float(values[i])) for i in order.tolist() if values[i] > 0
    ]
