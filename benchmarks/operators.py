"""What a piece of work spends its time in, operator by operator of torch."""

from collections.abc import Callable, Mapping

import torch
from torch.profiler import ProfilerActivity, profile

SHOWN = 0.01
"""Operators that take less than this share of every column are added up."""


def operators(work: Callable[[], object], device: torch.device, draws: int) -> dict[str, float]:
    """Microseconds per draw of one call after a first, by operator: its own time on the device, without what it calls."""
    work()
    gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as found:
        work()
    times = {
        event.key: event.self_device_time_total if gpu else event.self_cpu_time_total for event in found.key_averages()
    }
    return {name: time / draws for name, time in sorted(times.items(), key=lambda item: -item[1]) if time > 0}


def operator_table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: an operator per row, what takes longest first."""
    totals = {name: sum(times.values()) for name, times in columns.items()}
    names = dict.fromkeys(name for times in columns.values() for name in times)
    share = {name: max(times.get(name, 0) / totals[column] for column, times in columns.items()) for name in names}
    shown = sorted((name for name in names if share[name] >= SHOWN), key=lambda name: -share[name])
    rows = [[name, *(f"{times.get(name, 0):.0f}" for times in columns.values())] for name in shown]
    rest = [sum(time for name, time in times.items() if name not in shown) for times in columns.values()]
    rows += [["rest", *(f"{time:.0f}" for time in rest)], ["all", *(f"{total:.0f}" for total in totals.values())]]
    lines = [["operator", *columns], ["---", *["--:"] * len(columns)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
