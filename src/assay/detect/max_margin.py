"""MM-BD: is the largest margin that any input can give one class far beyond what the other classes reach?

Source: Wang, Xiang, Miller, Kesidis, "MM-BD: Post-training detection of backdoor attacks with arbitrary backdoor
pattern types using a maximum margin statistic" (IEEE S&P 2024), section 4. Needs no data. The backdoor of a target
class makes its margin grow further than clean training would let it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.detect.finding import Finding
from assay.detect.frozen import frozen
from assay.models import batches
from assay.runs import NO_HURRY, Deadline


@dataclass(frozen=True, slots=True)
class MaxMargin:
    """Settings, then `detector(model, image_shape, class_names)`.

    Attributes:
        steps: of gradient ascent.
        starts: random pictures a class to start from; the largest margin counts.
        lr: step, in units of the picture's range [0, 1].
        seed: of the starts.

    Cost: `steps * classes * starts` forward and backward passes of one picture.
    """

    steps: int = 100
    starts: int = 4
    lr: float = 0.05
    seed: int = 0

    def __call__(
        self,
        model: nn.Module,
        image_shape: tuple[int, int, int],
        class_names: tuple[str, ...],
        deadline: Deadline = NO_HURRY,
    ) -> Finding:
        started = time.monotonic()
        margins, done = self._margins(model, image_shape, len(class_names), deadline)
        target = int(margins.argmax())
        p_value = order_statistic_p(margins)
        spread = float(np.median(np.abs(margins - np.median(margins)))) or 1.0
        odd = float((margins[target] - np.median(margins)) / spread)
        summary = (
            f"class {class_names[target]!r} reaches the largest margin, {margins[target]:.0f}; "
            f"the median class {np.median(margins):.0f}"
        )
        return Finding(
            "max_margin", {"largest_margin": odd}, summary, p_value, margins, "largest margin (logits)", target,
            seconds=time.monotonic() - started, done=done,
        )  # fmt: skip

    def _margins(
        self, model: nn.Module, image_shape: tuple[int, int, int], classes: int, deadline: Deadline
    ) -> tuple[NDArray[np.float64], bool]:
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.rand(classes * self.starts, *image_shape, generator=generator).requires_grad_()
        aims = torch.arange(classes).repeat_interleave(self.starts)
        optimiser = torch.optim.Adam([x], self.lr)
        model = frozen(model)
        done = 0
        while done < self.steps and not deadline.passed:
            optimiser.zero_grad(set_to_none=True)
            for part in batches(len(x), TOGETHER):
                (-_margin(model(x[part]), aims[part]).sum()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                x.clamp_(0, 1)
            done += 1
        with torch.inference_mode():
            margins = torch.cat([_margin(model(x[part]), aims[part]) for part in batches(len(x), TOGETHER)])
        return margins.view(classes, self.starts).amax(1).double().numpy(), done == self.steps


TOGETHER = 128
"""Pictures of one forward pass."""


def _margin(logits: Tensor, aims: Tensor) -> Tensor:
    """Logit of the aim minus the largest of the others."""
    own = logits.gather(1, aims[:, None]).squeeze(1)
    others = logits.scatter(1, aims[:, None], float("-inf")).amax(1)
    return own - others


def order_statistic_p(margins: NDArray[np.float64]) -> float:
    """Probability that the largest of k values is this large, if all come from one gamma law (paper, section 4.2).

    The law is fitted to all but the largest; with few classes it is a rough guide only.
    """
    from scipy.stats import gamma

    rest = np.delete(margins, margins.argmax())
    rest = rest[rest > 0]
    if len(rest) < 3:
        return 1.0
    if rest.std() == 0:  # the law is a point
        return float(margins.max() <= rest[0])
    mean, variance = float(rest.mean()), float(rest.var(ddof=1))
    below = float(gamma.cdf(margins.max(), mean**2 / variance, scale=variance / mean))
    return float(1 - below ** len(margins))
