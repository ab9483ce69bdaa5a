"""SPU's Cheetah between two processes: `python spu_peer.py WORK VERSION REPEAT` prints one JSON object.

Run by the Python of `.venv-spu` (`make peers-private`), which has SPU and JAX and nothing of Assay. WORK is `relu`
(2^17 shared values), `minionn7` or `resnet32`; weights are random, private to the first process, the picture to the
second. SPU has no offline phase: all its time is waited for. The first run is not counted.
"""

import json
import socket
import sys
import time
from importlib import metadata
from multiprocessing import get_context

import numpy as np


def convolution(x, weight, stride=1):
    import jax

    return jax.lax.conv_general_dilated(x, weight, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def relu(x):
    import jax.numpy as jnp

    return jnp.maximum(x, 0)


def halved(x):
    """The mean of each 2x2."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def minionn7(x, *weights):
    for i, weight in enumerate(weights[:-1]):
        x = relu(convolution(x, weight))
        if i in (1, 3):
            x = halved(x)
    return x.reshape(1, -1) @ weights[-1]


MINIONN7 = [(3, 3, 3, 64), *[(3, 3, 64, 64)] * 4, (1, 1, 64, 64), (1, 1, 64, 16), (1024, 10)]


def resnet32(x, *weights):
    """Five blocks of two convolutions at each of three widths; shortcuts by every other pixel and channels of zeros."""
    import jax.numpy as jnp

    x = relu(convolution(x, weights[0]))
    for one, two in zip(weights[1:-1:2], weights[2:-1:2], strict=True):
        stride = 1 if one.shape[3] == x.shape[3] else 2
        short = x[:, ::stride, ::stride]
        short = jnp.pad(short, ((0, 0), (0, 0), (0, 0), (0, one.shape[3] - x.shape[3])))
        x = relu(convolution(relu(convolution(x, one, stride)), two) + short)
    return x.mean((1, 2)) @ weights[-1]


def resnet_shapes():
    shapes, channels = [(3, 3, 3, 16)], 16
    for wide in (16, 32, 64):
        for _ in range(5):
            shapes += [(3, 3, channels, wide), (3, 3, wide, wide)]
            channels = wide
    return [*shapes, (64, 10)]


WORK = {
    "relu": (lambda x, y: relu(x + y), (1, 32, 32, 128), [(1, 32, 32, 128)]),  # a value of each party: shared
    "minionn7": (minionn7, (1, 32, 32, 3), MINIONN7),
    "resnet32": (resnet32, (1, 32, 32, 3), resnet_shapes()),
}


def party(rank, ports, work, repeat, pipe):
    import spu
    from spu import libspu
    from spu.utils import frontend

    function, picture, shapes = WORK[work]
    rng = np.random.default_rng(0)
    inputs = [rng.random(picture, np.float32)]
    inputs += [(rng.standard_normal(s, np.float32) / np.sqrt(np.prod(s[:-1]) / 2)) for s in shapes]
    owners = [1] + [0] * len(shapes)
    description = libspu.link.Desc()
    description.recv_timeout_ms = 600_000
    for i, port in enumerate(ports):
        description.add_party(f"party{i}", f"127.0.0.1:{port}")
    config = libspu.RuntimeConfig(protocol=libspu.ProtocolKind.CHEETAH, field=libspu.FieldType.FM64)
    config.experimental_enable_colocated_optimization = True
    runtime = spu.Runtime(libspu.link.create_brpc(description, rank), config)
    names = [f"in{i}" for i in range(len(inputs))]
    hidden = [libspu.Visibility.VIS_SECRET] * len(inputs)
    program, _ = frontend.compile(
        frontend.Kind.JAX, function, inputs, {}, names, hidden, lambda out: [f"out{i}" for i in range(len(out))]
    )
    io = spu.Io(2, config)
    for name, value, owner in zip(names, inputs, owners, strict=True):
        given = value if rank == owner else np.zeros_like(value)
        runtime.set_var(name, io.make_shares(given, libspu.Visibility.VIS_SECRET, owner)[rank])
    seconds = []
    for _ in range(repeat + 1):
        begun = time.perf_counter()
        runtime.run(program)
        seconds.append(time.perf_counter() - begun)
    if pipe:
        pipe.send(seconds[1:])


def main(work, version, repeat):
    if metadata.version("spu") != version:
        raise RuntimeError(f"SPU {version} was asked for, {metadata.version('spu')} is installed")
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    context = get_context("spawn")
    ours, theirs = context.Pipe(False)
    parties = [context.Process(target=party, args=(i, ports, work, repeat, (None, theirs)[i])) for i in range(2)]
    for each in parties:
        each.start()
    theirs.close()  # so that a party that dies is noticed
    try:
        return {"version": version, "work": work, "seconds": ours.recv()}
    finally:
        for each in parties:
            each.join(20)
            if each.is_alive():
                each.terminate()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
