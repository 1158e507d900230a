"""Claim 6: growing in place suits frameworks with dynamic graphs: nothing is rebuilt."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from results import table
from torch import nn
from torch.nn import functional as F

from claims.effort import Effort
from claims.parts import Part
from edgegrow.growth.channels import NetworkTrace
from edgegrow.growth.groups import trace
from edgegrow.growth.surgery import ChannelSplit, split_channels
from edgegrow.nets import load_net
from edgegrow.training import make_optimizer

CLAIM = "It suits frameworks with dynamic graphs: weight matrices grow between steps."

NETWORKS = {"conv1d": (1, 40), "dscnn": (1, 28, 28), "resnet8": (1, 28, 28)}
"""Grown from their own widths by half of every group's channels, and the shape of their input."""

UNCHANGED = 1e-5
"""Largest change of an output at a zero step, in units of the outputs' largest."""

STEPS = 5.0
"""Training steps (batch of 64) that the surgery on all groups may cost."""

REBUILD = 1.0
"""What it may cost in units of building the wider network anew and copying everything over."""

BATCH = 64


def inputs(effort: Effort) -> None:
    """Return what the figures depend on beside the effort: nothing."""


def examine(effort: Effort) -> dict[str, Any]:
    """Grow every network in place, and build it anew beside."""
    return {"networks": {name: network(name, effort) for name in NETWORKS}, "compiled": _compiled()}


def network(name: str, effort: Effort) -> dict[str, Any]:
    """Grow a network in place several times: what held every time, and medians of what it took."""
    samples = [_once(name, seed) for seed in range(effort.repeats + 1)][1:]  # the first warms up
    times = {key: median(s[key] for s in samples) for key in ("step_ms", "surgery_ms", "rebuild_ms")}
    return {
        **times,
        "kept": all(sample["kept"] for sample in samples),
        "carried": all(sample["carried"] for sample in samples),
        "goes_on": all(sample["goes_on"] for sample in samples),
        "change": max(sample["change"] for sample in samples),
    }


def _once(name: str, seed: int) -> dict[str, Any]:
    """Train two steps, split half of every group's channels in place, train on; build it anew beside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = load_net(name).build(NETWORKS[name], 10, None)
        x, y = torch.randn(BATCH, *NETWORKS[name]), torch.randint(0, 10, (BATCH,))
    traced = trace(module, NETWORKS[name])
    optimizer = make_optimizer(traced.graph, 0.05, 0.9, 0.0)
    _step(traced.graph, optimizer, x, y)
    started = time.process_time()
    _step(traced.graph, optimizer, x, y)
    step_ms = _since(started)
    before = _outputs(traced.graph, x)
    parameters = {key: id(parameter) for key, parameter in traced.graph.named_parameters()}
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    momentum = {key: _momentum(optimizer, p).clone() for key, p in traced.graph.named_parameters()}
    splits = [
        ChannelSplit(group, torch.arange(traced.sizes[group.name] // 2), _zero(traced, group.name))
        for group in traced.growable
    ]
    started = time.process_time()
    split_channels(traced, splits, optimizer.state)
    surgery_ms = _since(started)
    after = _outputs(traced.graph, x)
    started = time.process_time()
    _rebuilt(name, traced, optimizer)
    rebuild_ms = _since(started)
    loss = _step(traced.graph, optimizer, x, y)
    own = {key: id(parameter) for key, parameter in traced.graph.named_parameters()}
    return {
        "step_ms": step_ms,
        "surgery_ms": surgery_ms,
        "rebuild_ms": rebuild_ms,
        "kept": own == parameters
        and held == [id(p) for group in optimizer.param_groups for p in group["params"]],
        "carried": _carried(traced, optimizer, momentum),
        "goes_on": bool(torch.isfinite(torch.tensor(loss))),
        "change": ((after - before).abs().max() / before.abs().max()).item(),
    }


def _zero(traced: NetworkTrace, name: str) -> list[torch.Tensor]:
    """No direction, for half of a group's channels."""
    group = next(g for g in traced.growable if g.name == name)
    half = traced.sizes[name] // 2
    return [
        torch.zeros(half * rows, *traced.module(layer).weight.shape[1:])
        for layer, rows in zip(group.filtered, group.rows, strict=True)
    ]


def _momentum(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> torch.Tensor:
    return optimizer.state[parameter]["momentum_buffer"]


def _carried(
    traced: NetworkTrace, optimizer: torch.optim.Optimizer, before: Mapping[str, torch.Tensor]
) -> bool:
    """Whether every buffer has its parameter's new shape, and none has been lost."""
    return all(
        _momentum(optimizer, p).shape == p.shape
        and bool(_momentum(optimizer, p).abs().sum() > 0) == bool(before[key].abs().sum() > 0)
        for key, p in traced.graph.named_parameters()
    )


def _rebuilt(name: str, grown: NetworkTrace, old: torch.optim.Optimizer) -> None:
    """Build the wider network anew, find its groups, and copy weights and momentum over."""
    widths = [grown.widths()[group.name] for group in grown.growable]
    module = load_net(name).build(NETWORKS[name], 10, widths)
    traced = trace(module, NETWORKS[name])
    traced.graph.load_state_dict(grown.graph.state_dict())
    optimizer = make_optimizer(traced.graph, 0.05, 0.9, 0.0)
    pairs = zip(traced.graph.parameters(), grown.graph.parameters(), strict=True)
    for parameter, source in pairs:
        optimizer.state[parameter]["momentum_buffer"] = _momentum(old, source).clone()


def _step(module: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    module.train()
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(module(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def _outputs(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    module.eval()
    return module(x)


def _since(started: float) -> float:
    return 1e3 * (time.process_time() - started)


def _compiled() -> dict[str, float]:
    """CPU time of a forward pass of a compiled graph, before and right after its weights have grown.

    The graph is captured and handed back as it is (backend ``eager``), so this is what capturing alone costs;
    a real backend compiles on top.
    """
    module = load_net("conv1d").build(NETWORKS["conv1d"], 10, None).eval()
    traced, x = trace(module, NETWORKS["conv1d"]), torch.randn(BATCH, *NETWORKS["conv1d"])
    compiled = torch.compile(module, backend="eager")
    times = {}
    with torch.no_grad():
        for what in ("capture_ms", "usual_ms"):
            started = time.process_time()
            compiled(x)
            times[what] = _since(started)
        split_channels(
            traced,
            [
                ChannelSplit(group, torch.arange(traced.sizes[group.name] // 2), _zero(traced, group.name))
                for group in traced.growable
            ],
        )
        started = time.process_time()
        compiled(x)
        times["after_growth_ms"] = _since(started)
    return times


def parts(figures: Mapping[str, Any]) -> list[Part]:
    """Judge what is kept, what it costs, and what rebuilding costs."""
    networks = figures["networks"]
    steps = {name: n["surgery_ms"] / n["step_ms"] for name, n in networks.items()}
    rebuilds = {name: n["surgery_ms"] / n["rebuild_ms"] for name, n in networks.items()}
    dearest, closest = max(steps, key=lambda n: steps[n]), max(rebuilds, key=lambda n: rebuilds[n])
    change = max(n["change"] for n in networks.values())
    whole = all(n["kept"] and n["carried"] and n["goes_on"] for n in networks.values())
    return [
        Part(
            "Parameters stay the same objects, the optimiser's state grows with them, and training goes on",
            "yes" if whole else "no",
            "on every network",
            whole,
        ),
        Part(
            "Growing at a zero step leaves the outputs as they are",
            f"{change:.1e} of the largest output at most",
            f"at most {UNCHANGED:g}",
            change <= UNCHANGED,
        ),
        Part(
            "Growing all groups costs little",
            f"{steps[dearest]:.2f} training steps at most ({dearest})",
            f"at most {STEPS:g}",
            steps[dearest] <= STEPS,
        ),
        Part(
            "It is cheaper than building the wider network anew",
            f"{rebuilds[closest]:.2f} of that at most ({closest})",
            f"less than {REBUILD:g}",
            rebuilds[closest] < REBUILD,
        ),
    ]


def section(figures: Mapping[str, Any]) -> list[str]:
    """Lines of the readable page."""
    rows = [
        [name, f"{n['step_ms']:.1f} ms", f"{n['surgery_ms']:.1f} ms", f"{n['surgery_ms'] / n['step_ms']:.2f}",
         f"{n['rebuild_ms']:.0f} ms", f"{n['rebuild_ms'] / n['surgery_ms']:.0f}"]
        for name, n in figures["networks"].items()
    ]  # fmt: skip
    compiled = figures["compiled"]
    return [
        f"Half of the channels of every group are split; training steps are of {BATCH} samples. To",
        "rebuild is",
        "to build the wider module, find its groups, and copy weights, statistics and momentum over;",
        "deciding",
        "what goes where, which surgery does on the way, is not in it.",
        "",
        *table(["network", "training step", "surgery", "in steps", "rebuilding", "times the surgery"], rows),
        "",
        "Where the graph is static it has to be made again: under `torch.compile`, capturing conv1d's graph",
        f"alone (backend `eager`, nothing compiled) takes {compiled['after_growth_ms']:.0f} ms after a",
        "growth,",
        f"the same forward pass {compiled['usual_ms']:.2f} ms otherwise.",
        "",
        "One caution: no autograd graph of the old shapes may be alive when the next step begins (a kept",
        "loss,",
        "or a `SplittingOperator`), or PyTorch refuses the new gradients' shapes.",
    ]
