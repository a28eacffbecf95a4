"""Integrators whose matrix is kept from one process, and one day, to the next."""

from collections.abc import Mapping

from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.matrix import Matrix, build_matrix
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.storage.matrices import MatrixCache


def integrators_of(recipes: Mapping[str, Recipe], cache: MatrixCache | None = None) -> dict[str, Integrator]:
    """An integrator for each recipe.

    Args:
        recipes: layout -> recipe.
        cache: where matrices are kept; None takes the user's.
    """
    matrices = cache or MatrixCache()
    return {name: Integrator(recipe, matrix_of(recipe, matrices)) for name, recipe in recipes.items()}


def matrix_of(recipe: Recipe, cache: MatrixCache) -> Matrix:
    """The matrix of a recipe, from the cache if it is there; made and kept if it is not."""
    key = recipe.matrix_key()
    arrays = cache.get(key)
    if arrays is not None and set(arrays) == set(Matrix.__dataclass_fields__):
        return Matrix(**arrays)
    matrix = build_matrix(recipe)
    cache.put(key, matrix.arrays())
    return matrix
