"""A largest matching found step by step as sed_eval finds it, so that the choice is the same too.

The size of a largest matching is one number, the pairs in it are not. sed_eval takes over the
search of mir_eval, and with it what is left over; this one visits pairs in the same order, with a
list of its own in place of recursion.

References
----------
J. E. Hopcroft, R. M. Karp, "An n^5/2 algorithm for maximum matchings in bipartite graphs", SIAM
Journal on Computing 2(4), 1973.
"""

from collections.abc import Sequence

__all__ = ["layered_matching"]

_FREE = -1


def layered_matching(references: Sequence[int], estimates: Sequence[int]) -> dict[int, int]:
    """Return a largest matching, estimates by reference.

    Parameters
    ----------
    references, estimates
        The pairs that may match, sorted by reference, then estimate.
    """
    options: dict[int, list[int]] = {}  # references by estimate, in the order of the pairs
    for reference, estimate in zip(references, estimates, strict=True):
        options.setdefault(estimate, []).append(reference)
    owner: dict[int, int] = {}  # estimates by reference
    for estimate, found in options.items():
        first = next((reference for reference in found if reference not in owner), None)
        if first is not None:
            owner[first] = estimate
    while True:
        before, reached, ends = _layers(options, owner)
        if not ends:
            return owner
        for end in ends:
            _augment(end, before, reached, owner)


def _layers(
    options: dict[int, list[int]], owner: dict[int, int]
) -> tuple[dict[int, list[int]], dict[int, int], list[int]]:
    """Walk from the free estimates, layer by layer, until a layer has free references.

    Returns
    -------
    dict
        Estimates that each reference was reached from.
    dict
        The reference that each estimate was reached from, or `_FREE`.
    list
        The free references of the last layer.
    """
    taken = set(owner.values())
    reached = {estimate: _FREE for estimate in options if estimate not in taken}
    before: dict[int, list[int]] = {}
    layer, ends = list(reached), list[int]()
    while layer and not ends:
        found: dict[int, list[int]] = {}
        for estimate in layer:
            for reference in options[estimate]:
                if reference not in before:
                    found.setdefault(reference, []).append(estimate)
        before |= found
        ends = [reference for reference in found if reference not in owner]
        layer = [owner[reference] for reference in found if reference in owner]
        reached |= {owner[reference]: reference for reference in found if reference in owner}
    return before, reached, ends


def _augment(
    end: int, before: dict[int, list[int]], reached: dict[int, int], owner: dict[int, int]
) -> None:
    """Look for a path back from a free reference, and match along it; what is seen is used up."""
    trail = [(end, iter(before.pop(end, ())))]
    steps: list[tuple[int, int]] = []
    while trail:
        reference, estimates = trail[-1]
        estimate = next((e for e in estimates if e in reached), None)
        if estimate is None:
            trail.pop()
            if steps:
                steps.pop()
            continue
        steps.append((reference, estimate))
        previous = reached.pop(estimate)
        if previous == _FREE:
            owner |= dict(steps)
            return
        trail.append((previous, iter(before.pop(previous, ()))))
