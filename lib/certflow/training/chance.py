"""Whether a classifier is no better than chance on the noisy test set: it has learnt nothing, or a large step has killed it."""

import numpy as np


def chance(labels: np.ndarray) -> float:
    """The largest share of right answers that says nothing: that of the commonest class, and two standard errors.

    At most half of what is left to be right counts as such errors: of few images, all right is never nothing.
    """
    share = np.bincount(np.asarray(labels, np.int64)).max() / len(labels)
    return float(share + min(2 * np.sqrt(share * (1 - share) / len(labels)), (1 - share) / 2))


def no_better(accuracy: float | None, most: float) -> str:
    """What is wrong with a classifier of this accuracy, where `most` is chance; empty: nothing."""
    if accuracy is None or accuracy >= most:
        return ""
    return (
        f"{accuracy:.1%} of the noisy test set is right, not clearly more than one constant answer gets: the network has "
        "learnt nothing, or died; a lower learning rate may help"
    )
