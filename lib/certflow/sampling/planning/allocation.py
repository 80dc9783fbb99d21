"""Spending draws where they gain most: the best sum of expected gains for a price per draw, or for a total of draws."""

import numpy as np

LOWEST_PRICE = 1e-12
"""Gains per draw below this buy nothing: they are within the error of the expected gains."""


def draws_at_price(n: np.ndarray, gain: np.ndarray, price: float) -> np.ndarray:
    """int64 [rows]: for each row of `gain` [rows, draws] the n with the largest gain - price n, the smallest on ties."""
    return n[np.argmax(gain - price * n, axis=1)]


def draws_for_total(n: np.ndarray, gain: np.ndarray, row: np.ndarray, total: int) -> np.ndarray:
    """int64 [images]: draws with the largest sum of expected gains among those that cost at most `total`, up to one step.

    n: int64 [draws], increasing from 0; gain: [rows, draws], 0 at n = 0; row: int64 [images], each image's row of `gain`.
    Steps along the concave hulls of the rows are bought from the steepest down, each for all images of its row: at any moment
    this is what one price per draw would buy. Of the step that exceeds the total, the first images get what is left.

    Never more than `total`; no image's draws fall when the total grows. ValueError where the total does not buy one step.
    """
    rows, start, size, slope = hull_steps(n, gain)
    order = np.lexsort((start, rows, -slope))
    images = np.bincount(row, minlength=len(gain))
    cost = size[order] * images[rows[order]]
    bought = int(np.searchsorted(np.cumsum(cost), total, side="right"))
    given = np.zeros(len(gain), np.int64)
    np.add.at(given, rows[order[:bought]], size[order[:bought]])
    draws = given[row]
    if bought < len(order):
        last = order[bought]
        few = (total - int(cost[:bought].sum())) // int(size[last])
        draws[np.flatnonzero(row == rows[last])[:few]] += size[last]
        if not draws.any():
            raise ValueError(
                f"{total} draws for {len(row)} images are too few; the first step takes {size[last]} for one image"
            )
    return draws


def hull_steps(n: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps between neighbouring corners of each row's concave hull: (row, start, size, gain per draw), [steps] each.

    Only steps that gain at least LOWEST_PRICE per draw; within a row they are in order and their gains per draw fall.
    """
    rows, starts, ends, slopes = [], [], [], []
    for number, values in enumerate(gain):
        corners = _concave_hull(n, values)
        slope = np.diff(values[corners]) / np.diff(n[corners])
        kept = int(np.argmax(np.append(slope < LOWEST_PRICE, True)))
        rows.append(np.full(kept, number))
        starts.append(n[corners[:kept]])
        ends.append(n[corners[1 : kept + 1]])
        slopes.append(slope[:kept])
    row, start, end, slope = (np.concatenate(part) if part else np.zeros(0) for part in (rows, starts, ends, slopes))
    return row.astype(np.int64), start.astype(np.int64), (end - start).astype(np.int64), slope


def _concave_hull(n: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Indices of the corners of the upper hull of the points (n, values), first and last included."""
    x, y = n.tolist(), values.tolist()
    corners: list[int] = []
    for new in range(len(x)):
        while len(corners) > 1:
            b, a = corners[-1], corners[-2]
            if (y[b] - y[a]) * (x[new] - x[b]) > (y[new] - y[b]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(new)
    return np.array(corners, np.int64)
