"""Speed of double sampling radii: `python benchmarks/dsrs.py [--json FILE] [--reference IMAGES]`, a minute or two.

Images per second of CPU time on one thread, for Neyman-Pearson radii and both second laws at the dimensions of MNIST, CIFAR-10
and ImageNet, and the peak of what NumPy holds. Beside them, in the same run, the same radii by a plain loop: one image at a
time, SciPy's adaptive quadrature with the kinks given, SciPy's root finders, bisection on the radius. On a shared machine only
ratios mean something.
"""

import argparse
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy import integrate, optimize, special, stats

from certflow.certify import dsrs_radius, gg_np_radius
from certflow.stats import clopper_pearson_lower, clopper_pearson_upper

CASES = {"MNIST": (784, 380), "CIFAR-10": (3072, 1530), "ImageNet": (150_528, 75_260)}
IMAGES, N = 1000, 50_000


def intervals(images: int, kind: str, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Bounds of images as real networks give them: accuracies over (1/2, 1), higher near the image; and q_param."""
    rng = np.random.default_rng(seed)
    p = special.ndtr(rng.uniform(0.1, 3.2, images))
    share = np.clip(0.08 * -np.log1p(-p) + 0.2, 0.05, 0.98)
    lost = (1 - p) * rng.uniform(0.45, 0.95, images)
    if kind == "scaled":
        q = 1 - (1 - p) * rng.uniform(0.4, 0.8, images)
    else:
        q = 1 - np.minimum(lost, 0.98 * (1 - p) / share)
    counts = [rng.binomial(N, v) for v in (p, q)]
    bounds = [f(k, N, 0.00025) for k in counts for f in (clopper_pearson_lower, clopper_pearson_upper)]
    return bounds, (share if kind == "truncated" else np.full(images, 0.8))


def measured(work: Callable[[], object], repeats: int = 3) -> float:
    """Least CPU seconds of several runs."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


class Plain:
    """The textbook way: scalar functions, adaptive quadrature, bracketed root finding. Truncated law and NP only."""

    def __init__(self, d: int, k: int):
        self.d, self.k, self.a = d, k, d / 2 - k
        self.unit = np.sqrt(2 * self.a / d)
        self.low, self.high = special.gammaincinv(self.a, 1e-13), special.gammainccinv(self.a, 1e-13)

    def cosine(self, y: float) -> float:
        half = (self.d - 1) / 2
        return special.betainc(half, half, min(max((1 + y / np.sqrt(self.d)) / 2, 0.0), 1.0))

    def growth(self, t: float, level: float) -> float:
        x = level * t / (t + self.k)
        for _ in range(8):
            x -= (self.k * np.log1p(x / t) + x - level) * (t + x) / (t + x + self.k)
        return x

    def integral(self, integrand: Callable[[float], float], low: float, high: float, kinks=()) -> float:
        edges = sorted({low, high, *(k for k in kinks if low < k < high)})
        pairs = zip(edges[:-1], edges[1:], strict=True)
        return sum(integrate.quad(integrand, *pair, epsabs=1e-10, limit=200)[0] for pair in pairs)

    def mass(self, level: float, rho: float, low: float, high: float) -> float:
        def integrand(t):
            y = (rho / 2 - self.growth(t, -level) / rho) * np.sqrt(self.d / (2 * t))
            return stats.gamma.pdf(t, self.a) * self.cosine(y)

        return self.integral(integrand, low, high)

    def level_of(self, target: float, rho: float, low: float, high: float) -> float:
        return optimize.brentq(lambda level: self.mass(level, rho, low, high) - target, -8, 9, xtol=1e-9)

    def np_certifies(self, p: float, r: float) -> bool:
        rho = r * self.unit
        return 1 - self.mass(-self.level_of(p, rho, self.low, self.high), rho, self.low, self.high) >= 0.5

    def truncated_certifies(self, p: float, q: float, share: float, r: float) -> bool:
        rho, tau = r * self.unit, special.gammaincinv(self.a, share)
        inside = self.level_of(q * share, rho, self.low, tau)
        outside = self.level_of(p - q * share, rho, tau, self.high)

        def integrand(t):
            bound = min(self.growth(t, inside), max(tau - t, self.growth(t, outside)))
            return stats.gamma.pdf(t, self.a) * self.cosine((bound / rho - rho / 2) * np.sqrt(self.d / (2 * t)))

        width = 10 * rho * np.sqrt(2 * tau / self.d)
        kinks = [tau - width, tau, tau + width, tau + self.growth(tau, -inside), tau + self.growth(tau, -outside)]
        return self.integral(integrand, self.low, self.high, kinks) >= 0.5

    def radius(self, certifies: Callable[[float], bool], low: float, high: float, tol: float) -> float:
        while high - low > tol:
            middle = (low + high) / 2
            low, high = (middle, high) if certifies(middle) else (low, middle)
        return low


def reference(name: str, images: int, tol: float = 1e-3) -> list[dict]:
    """Seconds per image of the plain loop, and how far its radii lie from ours. tol: of its bisection."""
    d, k = CASES[name]
    plain, (bounds, share) = Plain(d, k), intervals(200, "truncated")
    ours = dsrs_radius(*bounds, d, k, 1.0, "truncated", share)
    rows = np.flatnonzero(ours["case"] == "lam2_pos")[:images]
    start, found = time.process_time(), []
    for row in rows:
        p, base = bounds[0][row], ours["radius_np"][row]
        found.append(plain.radius(lambda r, p=p: plain.np_certifies(p, r), 0.8 * base, 1.2 * base, tol))
    seconds_np, off_np = time.process_time() - start, np.abs(found - ours["radius_np"][rows]).max()
    start, found = time.process_time(), []
    for row in rows:
        p, q, base = bounds[0][row], bounds[2][row], ours["radius_np"][row]
        certifies = lambda r, p=p, q=q, row=row: plain.truncated_certifies(p, q, share[row], r)  # noqa: E731
        found.append(plain.radius(certifies, base, 1.5 * base, tol))
    seconds, off = time.process_time() - start, np.abs(found - ours["radius"][rows]).max()
    if max(off, off_np) > 2 * tol:
        raise SystemExit(f"{name}: the plain loop finds other radii, by {max(off, off_np):.2g}")
    return [
        {"data": name, "what": "NP, plain loop", "per_second": len(rows) / seconds_np},
        {"data": name, "what": "truncated, plain loop", "per_second": len(rows) / seconds},
    ]


def ours(name: str) -> list[dict]:
    """Images per second with the tables made, and the time to make them."""
    d, k = CASES[name]
    start = time.process_time()
    gg_np_radius([0.9], d, k, 1.0)
    rows = [{"data": name, "what": "tables", "seconds": time.process_time() - start}]
    for kind in ("truncated", "scaled"):
        bounds, parameter = intervals(IMAGES, kind)
        if kind == "truncated":
            seconds = measured(lambda bounds=bounds: [gg_np_radius(bounds[0], d, k, 1.0) for _ in range(100)])
            rows.append({"data": name, "what": "NP", "per_second": 100 * IMAGES / seconds})

        def work(bounds=bounds, parameter=parameter, kind=kind):
            return dsrs_radius(*bounds, d, k, 1.0, kind, parameter)

        found = work()
        certified = (found["n_eval"] > 0).sum()
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        rows.append({"data": name, "what": kind, "per_second": certified / measured(work), "peak_mib": peak})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument(
        "--reference", type=int, default=1, metavar="IMAGES", help="images of the plain loop; 0: leave it out"
    )
    options = parser.parse_args()
    rows = []
    for name in CASES:
        rows += ours(name)
        if options.reference:
            rows += reference(name, options.reference)
    print(f"{'data':10s} {'what':24s} {'images/s':>12s} {'peak MiB':>9s}")
    for row in rows:
        speed = f"{row['per_second']:12.4g}" if "per_second" in row else f"{row['seconds']:10.2f} s"
        print(f"{row['data']:10s} {row['what']:24s} {speed:>12s} {row.get('peak_mib', float('nan')):9.1f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
