"""Samplers of skeletons behind one protocol: the paper's controller, Optuna's, and chance as the yardstick.

Sources: Ghodsi et al., "CryptoNAS" (NeurIPS 2020), section 4; Pham et al., "ENAS" (ICML 2018): an LSTM that decides one
thing after the other, REINFORCE (Williams, 1992) with a moving-average baseline, an entropy bonus and a penalty that
holds the share of skips near a target. Deb et al., NSGA-II (2002), as Optuna has it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from assay.models.training import seeded
from assay.search.space import Space

if TYPE_CHECKING:
    import optuna


class Sampler(Protocol):
    """Asked for a skeleton, then told what it was worth; told ones need not have been asked for (a resumed study)."""

    name: str

    def ask(self) -> str:
        """A skeleton to try."""

    def tell(self, skeleton: str, worth: float, cost: float) -> None:
        """What came of it, as a trial says it: worth, to be high; cost, to be low."""


class Chance:
    """Every decision drawn evenly."""

    name = "random"

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed, self.asked, self.told = space, seed, 0, 0

    def ask(self) -> str:
        draw = random.Random(f"{self.seed} {self.asked}")
        self.asked += 1
        return self.space.skeleton(tuple(draw.randrange(n) for n in self.space.choices))

    def tell(self, skeleton: str, worth: float, cost: float) -> None:
        """Chance learns nothing; after a resumption it goes on where it was."""
        self.told += 1
        self.asked = max(self.asked, self.told)


class _Policy(nn.Module):
    """An LSTM over decisions: each one's logits, given those before it."""

    def __init__(self, choices: tuple[int, ...], hidden: int = 48) -> None:
        super().__init__()
        self.choices = choices
        self.embed = nn.ModuleDict({str(n): nn.Embedding(n, hidden) for n in sorted(set(choices))})
        self.place = nn.Embedding(len(choices), hidden)
        self.cell = nn.LSTMCell(hidden, hidden)
        self.heads = nn.ModuleDict({str(n): nn.Linear(hidden, n) for n in sorted(set(choices))})
        for p in self.parameters():
            nn.init.uniform_(p, -0.1, 0.1)

    def forward(self, decisions: tuple[int, ...] | None, generator: torch.Generator | None) -> _Decided:
        """Follow given decisions, or draw them."""
        state = (torch.zeros(1, self.cell.hidden_size), torch.zeros(1, self.cell.hidden_size))
        given = self.place(torch.tensor([0]))
        taken, log_probs, entropies = [], [], []
        for at, n in enumerate(self.choices):
            state = self.cell(given, state)
            logits = 2.5 * torch.tanh(self.heads[str(n)](state[0]) / 5.0)  # ENAS: temperature 5, tanh constant 2.5
            log_p = logits.log_softmax(1)[0]
            choice = int(torch.multinomial(log_p.exp(), 1, generator=generator)) if decisions is None else decisions[at]
            taken.append(choice)
            log_probs.append(log_p[choice])
            entropies.append(-(log_p.exp() * log_p).sum())
            following = self.place(torch.tensor([min(at + 1, len(self.choices) - 1)]))
            given = self.embed[str(n)](torch.tensor([choice])) + following
        return _Decided(tuple(taken), torch.stack(log_probs).sum(), torch.stack(entropies).sum())


class _Decided:
    def __init__(self, decisions: tuple[int, ...], log_prob: Tensor, entropy: Tensor) -> None:
        self.decisions, self.log_prob, self.entropy = decisions, log_prob, entropy


class Controller:
    """The paper's reinforcement learning.

    Args:
        entropy_weight, skip_weight, skip_target: of the bonus, the penalty, and the share of skips it holds to.
    """

    name = "controller"

    def __init__(
        self,
        space: Space,
        seed: int,
        lr: float = 3e-3,
        entropy_weight: float = 1e-3,
        skip_weight: float = 0.1,
        skip_target: float = 0.4,
    ) -> None:
        self.space, self.seed, self.asked, self.told = space, seed, 0, 0
        self.entropy_weight, self.skip_weight, self.skip_target = entropy_weight, skip_weight, skip_target
        with seeded(seed):
            self.policy = _Policy(space.choices)
        self.optimiser = torch.optim.Adam(self.policy.parameters(), lr)
        self.baseline: float | None = None

    def ask(self) -> str:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.asked)
        self.asked += 1
        with torch.no_grad():
            return self.space.skeleton(self.policy(None, generator).decisions)

    def tell(self, skeleton: str, worth: float, cost: float) -> None:
        """One step of REINFORCE; the cost does not count once more: it is in what the skeleton is worth."""
        self.told += 1
        self.asked = max(self.asked, self.told)
        decided = self.policy(self.space.decisions(skeleton), None)
        skips = [d for d, n in zip(decided.decisions, self.space.choices, strict=True) if n == 2]
        share = sum(skips) / len(skips) if skips else self.skip_target
        reward = worth - self.skip_weight * (share - self.skip_target) ** 2
        self.baseline = reward if self.baseline is None else 0.95 * self.baseline + 0.05 * reward
        loss = -(reward - self.baseline) * decided.log_prob - self.entropy_weight * decided.entropy
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.policy.parameters(), 5.0)
        self.optimiser.step()


class Optuna:
    """Optuna's NSGA-II: worth up and cost down at once."""

    name = "optuna"

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self.asked: dict[str, list[optuna.Trial]] = {}
        self.known: list[optuna.trial.FrozenTrial] = []
        self.study: optuna.Study | None = None

    def _study(self) -> optuna.Study:
        """Made when it is first asked: of another seed than the study was that it goes on with, or it asks the same."""
        if self.study is None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            sampler = optuna.samplers.NSGAIISampler(population_size=12, seed=self.seed + len(self.known))
            self.study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
            self.study.add_trials(self.known)
        return self.study

    def _distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        import optuna

        return {
            f"d{i:03}": optuna.distributions.CategoricalDistribution(list(range(n)))
            for i, n in enumerate(self.space.choices)
        }

    def ask(self) -> str:
        trial = self._study().ask(self._distributions())
        skeleton = self.space.skeleton(tuple(trial.params[name] for name in sorted(trial.params)))
        self.asked.setdefault(skeleton, []).append(trial)
        return skeleton

    def tell(self, skeleton: str, worth: float, cost: float) -> None:
        import optuna

        if pending := self.asked.get(skeleton):
            self._study().tell(pending.pop(0), [worth, cost])
            return
        distributions = self._distributions()
        params = dict(zip(distributions, self.space.decisions(skeleton), strict=True))
        known = optuna.trial.create_trial(params=params, distributions=distributions, values=[worth, cost])
        if self.study is None:
            self.known.append(known)
        else:
            self.study.add_trial(known)


SAMPLERS = {"controller": Controller, "optuna": Optuna, "random": Chance}
"""By the name of the command line; random is always tried beside the others."""
