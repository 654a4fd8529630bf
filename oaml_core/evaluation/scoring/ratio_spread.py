"""How a fusion's weights would vary had other people been evaluated: the interval of a likelihood ratio rests on it.

A pair is scored under several conditions, and a person is in several pairs, so the terms of the regression's gradient
are not independent; their sums per person are. With H the regression's Hessian and S_i the sum of the gradients of
all pairs that person i is in, the weights' covariance is

    V = H⁻¹ (Σ_i S_i S_iᵀ + λ·1) H⁻¹

The sum over people is the linear part of the resampling that all other intervals here rest on
(`IdentityBootstrap`; Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007): no resample has to be
fitted. It is not too small; where everybody is in one impostor pair only it is too large, twice at most. λ·1 is what
the penalty adds: it draws weights to 0 by λ·H⁻¹·w, of which the square is H⁻¹ λ·1 H⁻¹ on average over weights of
variance 1/λ, those that the penalty takes for likely. So directions in which no condition tells anything are not taken
for certain. With independent pairs V is H⁻¹, the covariance that Laplace's approximation gives.

Weights that may not be negative count as free ones here, which makes intervals wider.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oaml_core.evaluation.scoring.identities import PairIdentities
from oaml_core.evaluation.statistics.protocols import Bools, Floats
from oaml_core.inference.fusion import WEIGHTS, Fusion

DIGITS = 7
"""Significant digits of the numbers that are stored."""


def with_spread(
    fusion: Fusion, x: Floats, issame: Bools, weight: Floats, people: PairIdentities, penalty: float
) -> Fusion:
    """Return a fusion that knows how its weights vary over people.

    Args:
        fusion: fitted.
        x: [C · N, WEIGHTS] regressors that it was fitted on, of N pairs under C conditions, one after the other.
        issame: [N], true for genuine pairs.
        weight: [C · N] of the observations.
        people: of the N pairs.
        penalty: λ of the fit.
    """
    labels = np.tile(issame, len(x) // len(issame))
    probability = 0.5 * (
        1.0 + np.tanh(0.5 * (x @ np.concatenate([fusion.free, fusion.global_slopes, fusion.local_slopes])))
    )
    curvature = weight * probability * (1.0 - probability)
    ridge = penalty * np.eye(WEIGHTS)
    hessian = (x * curvature[:, None]).T @ x + ridge
    gradients = x * (weight * (probability - labels))[:, None]
    by_person = _sums_by_person(gradients.reshape(-1, len(issame), WEIGHTS).sum(0), issame, people)
    half = np.linalg.solve(hessian, np.linalg.cholesky(by_person.T @ by_person + ridge))
    # V = half · halfᵀ; its triangular root is that of the QR decomposition of halfᵀ.
    root = np.linalg.qr(half.T).R.T
    rounded = tuple(float(f"{value:.{DIGITS}g}") for value in root[np.tril_indices(WEIGHTS)])
    return replace(fusion, covariance_root=rounded, people=_counted(issame, people))


def _sums_by_person(of_pairs: Floats, issame: Bools, people: PairIdentities) -> Floats:
    """Return sums [people, F] of what the pairs [N, F] of each person have; genuine pairs count once."""
    names, numbers = np.unique(np.concatenate([people.first, people.second]), return_inverse=True)
    first, second = np.split(numbers, 2)
    sums = np.zeros((names.size, of_pairs.shape[1]))
    np.add.at(sums, first, of_pairs)
    np.add.at(sums, second[~issame], of_pairs[~issame])
    return sums


def _counted(issame: Bools, people: PairIdentities) -> tuple[float, float]:
    """Return people of genuine pairs, and people of impostor pairs or these pairs if they are fewer."""
    genuine = np.unique(people.first[issame]).size
    impostors = np.unique(np.concatenate([people.first[~issame], people.second[~issame]])).size
    return float(genuine), float(min(impostors, int((~issame).sum())))
