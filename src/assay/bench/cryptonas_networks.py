"""The networks of CryptoNAS's table: ours, at the width that a budget allows, and the baselines of its time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from assay.bench.zoo import cache_folder
from assay.data import Dataset
from assay.data import load as load_data
from assay.errors import InputError
from assay.models import recipe
from assay.models.cnet import RELEASED
from assay.search import count_architecture
from assay.search.controller import SAMPLERS
from assay.search.finals import Finals
from assay.search.from_scratch import Length
from assay.search.scale import Scaled, narrow, scale
from assay.search.searching import try_skeleton, validation
from assay.search.space import Space
from assay.search.study import Study, Trying, run_study
from assay.search.supernet import build_supernet, train_supernet

BUDGETS = (25_000, 50_000, 100_000)

SMALLER = {
    "cnet1-balanced": (6_000, 12_500, 16_000),
    "three-layers": (3_000, 4_000, 6_000, 8_000, 9_000, 12_500, 16_000, 17_000, 20_000),
    "two-layers": (4_000, 8_000, 12_500),
}
"""Of ours as well: what is as accurate as a baseline may be much smaller than it."""

MOST_MACS = 130_000_000

SHALLOW = {"three-layers": "2 2:0 0:00", "two-layers": "2 2:0"}
"""Few layers make few rounds of messages; the 5x5 convolutions widen what the last sees.

Three layers are the fewest that a search has, one a stage. Of six skeletons of three and four, tried on training
pictures that none of them had learnt from, these were within 0.2 points of the best at two thirds of its cost. Two
layers are the same without the third, and so without the last stage.
"""

OURS = ("cnet1-balanced", "three-layers", "two-layers", "searched")
BASELINES = ("resnet20", "resnet32", "minionn7", "minionn7-squares")
LINEARISED = ("resnet20-sensitivity", "resnet20-gates")

WHOLE = ("resnet20", "resnet32")
"""At their usual width, which is written as a budget of 0: what a designer has before there is a budget."""

Picture = tuple[int, int, int]


def squared(budget: int, picture: Picture, classes: int) -> Scaled:
    """MiniONN's network with as many squares, from the first activation, as the budget asks for (Delphi)."""
    for squares in range(8):
        counted = count_architecture("minionn7", picture, classes, squares=squares)
        if counted.relus <= budget:
            return Scaled("minionn7", {"squares": squares}, counted.relus, counted.macs, counted.parameters)
    raise InputError(f"no budget of {budget} is met by squares")  # 7 squares leave no ReLU


def network(name: str, budget: int, data: Dataset) -> Scaled:
    """The network of a row, within its budget; of budget 0 at its usual width."""
    picture, classes = data.image_shape, data.classes
    if not budget:
        counted = count_architecture(name, picture, classes)
        return Scaled(name, {}, counted.relus, counted.macs, counted.parameters)
    if name in OURS:
        return scale(skeleton(name, data.name), budget, picture, classes, MOST_MACS)
    if name == "minionn7-squares":
        return squared(budget, picture, classes)
    return narrow(name, budget, picture, classes)


def skeleton(name: str, data: str) -> str:
    """Of a network of ours."""
    if name in SHALLOW:
        return SHALLOW[name]
    return searched_skeleton(data) if name == "searched" else RELEASED["cnet1"].cifar10


SUPERNET_STEPS, TRIALS, SEARCH_SEED = 2000, 40, 1
FINALISTS, FINAL_EPOCHS, FINAL_BUDGET = 24, 2, BUDGETS[0]


def searched_skeleton(data: str) -> str:
    """The skeleton that won the finals of one search, kept in the user's cache; interrupted, it goes on.

    Cost: about an hour of one core.
    """
    space = Space()
    folder = cache_folder() / "cryptonas" / f"search-{data}-{space.digest}-{SUPERNET_STEPS}-{TRIALS}"
    study = Study(space, folder / "journal.jsonl", f"{data} {SUPERNET_STEPS} {SEARCH_SEED}")
    if len(study.trials) < TRIALS * len(SAMPLERS):
        _, rest = validation(load_data(data, "train"), SEARCH_SEED)
        supernet, file = build_supernet(space, rest, SEARCH_SEED), folder / "supernet.pt"
        train_supernet(supernet, space, rest, SUPERNET_STEPS, SEARCH_SEED, file, kind=recipe(data)[1].augment)
        common = {"data": data, "depth": space.depth, "supernet": str(file), "seed": SEARCH_SEED}
        trying = Trying(try_skeleton, lambda skeleton: {**common, "skeleton": skeleton})
        samplers = [make(space, SEARCH_SEED) for make in SAMPLERS.values()]
        run_study(study, samplers, TRIALS, trying, lambda: ThreadPoolExecutor(1))
    finals = Finals(load_data(data, "train"), FINAL_BUDGET, MOST_MACS, SEARCH_SEED, folder / "finals.json")
    return finals.held(study, 0.0, length=Length(FINAL_EPOCHS, len(finals.data)), most=FINALISTS)[0].skeleton
