"""Residual networks for small pictures.

Sources: He et al., "Deep residual learning" (CVPR 2016), section 4.2, with identity shortcuts padded by zeros
(option A); He et al., "Identity mappings in deep residual networks" (ECCV 2016) for the pre-activation form.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int]


def _conv3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """conv, norm, ReLU, conv, norm, plus the shortcut, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels_in, channels_out, stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = _conv3(channels_out, channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.stride, self.extra = stride, channels_out - channels_in

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return F.relu(out + shortcut)


class ResNet(nn.Module):
    """6n+2 layers in three stages of 16, 32 and 64 channels, or of another width, doubled and doubled again."""

    def __init__(self, in_channels: int, classes: int, blocks_a_stage: int, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"a width is at least 1, got {width}")
        self.conv1 = _conv3(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        channels = width
        for out in (width, 2 * width, 4 * width):
            for _ in range(blocks_a_stage):
                blocks.append(BasicBlock(channels, out, stride=1 if out == channels else 2))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class PreActBlock(nn.Module):
    """norm, ReLU, conv, norm, ReLU, conv, plus the shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = _conv3(channels_in, channels_out, stride)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.conv2 = _conv3(channels_out, channels_out)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = None if same else nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + shortcut


class PreActResNet(nn.Module):
    """Four stages of two blocks, 64 to 512 channels."""

    def __init__(self, in_channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = _conv3(in_channels, width)
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(4):
            for block in range(2):
                out = width * 2**stage
                blocks.append(PreActBlock(channels, out, stride=2 if stage and not block else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.blocks(self.conv1(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def resnet20(in_channels: int, image_size: Size, classes: int, width: int = 16) -> nn.Module:
    """ResNet-20: 0.27 M parameters, 41 M multiplications for 32x32 pictures."""
    return ResNet(in_channels, classes, 3, width)


def resnet32(in_channels: int, image_size: Size, classes: int, width: int = 16) -> nn.Module:
    """ResNet-32: 0.46 M parameters, 69 M multiplications for 32x32 pictures."""
    return ResNet(in_channels, classes, 5, width)


def preact_resnet18(in_channels: int, image_size: Size, classes: int, width: int = 64) -> nn.Module:
    """PreActResNet-18: 11 M parameters at width 64."""
    return PreActResNet(in_channels, classes, width)
