"""The attacker: triggers, label maps, poisoned sets and BadNets, for testing defences."""

from assay.backdoor.badnet import BadNet, attack_success_rate, badnet, poison
from assay.backdoor.labels import AllToAll, LabelMap, RandomTarget, SingleTarget
from assay.backdoor.triggers import TRIGGERS, AnyOf, Filter, Glasses, Pattern, Pixel, Sticker, Trigger, stamp

__all__ = [
    "TRIGGERS",
    "AllToAll",
    "AnyOf",
    "BadNet",
    "Filter",
    "Glasses",
    "LabelMap",
    "Pattern",
    "Pixel",
    "RandomTarget",
    "SingleTarget",
    "Sticker",
    "Trigger",
    "attack_success_rate",
    "badnet",
    "poison",
    "stamp",
]
