"""The command line: names to functions, in one table. A command's module is imported when it is called."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnknownCommandError

from assay.cli.console import Outcome, complain, show
from assay.errors import AssayError

COMMANDS = {
    "demo": ("assay.cli.demo:demo", "The whole story on data that comes with the install, under 2 minutes."),
    "vet": ("assay.cli.vet:vet", "The main job: inspect, scan, repair if needed, report."),
    "inspect": ("assay.cli.inspect:inspect", "Is this file safe to open? No code of it is run."),
    "scan": ("assay.cli.scan:scan", "Is this model backdoored? The verdict alone."),
    "repair": ("assay.cli.repair:repair", "A new model file without the backdoor; the old one is not touched."),
    "guard": ("assay.cli.guard:app", "Serve it with the online defence: quarantine, repair, swap."),
    "convert": ("assay.cli.convert:convert", "A model file that passed inspection, as safetensors."),
    "data": ("assay.cli.data:data", "Examples out of a data set: an .npz, or one .png."),
    "train": ("assay.cli.train:train", "An honest network; resumable."),
    "compile": ("assay.cli.compile:compile", "The same network in exact integers, for proofs and private inference."),
    "prove": ("assay.cli.prove:prove", "An answer with a proof that the agreed network gave it."),
    "verify": ("assay.cli.verify:verify", "Is this answer the agreed network's? Without running it."),
    "commit": ("assay.cli.commit:commit", "A commitment to a network, for clients who do not hold its weights."),
    "estimate": ("assay.cli.estimate:estimate", "What a proof will cost: seconds, memory, bytes."),
    "serve": ("assay.cli.serve:serve", "Answer for a network over HTTP, with proofs."),
    "ask": ("assay.cli.ask:ask", "Ask such a server, and verify what it answers."),
    "count": ("assay.cli.count:count", "ReLUs, multiplications and parameters, layer by layer."),
    "rewrite": ("assay.cli.rewrite:rewrite", "Fewer ReLUs for the same network, exactly where it can be."),
    "linearise": ("assay.cli.linearise:linearise", "A trained network with fewer ReLUs, tuned to answer as before."),
    "search": ("assay.cli.search:search", "The best network for a budget of ReLUs."),
    "calibrate": ("assay.cli.calibrate:calibrate", "How fast this machine is at private inference; once, 10 seconds."),
    "bench": ("assay.cli.bench:bench", "A table of a paper, with our figures beside it."),
}
"""Name: where the function is, and one line of help, so that `assay --help` imports none of them."""

ATTACKS = {
    "badnet": ("assay.cli.attack:badnet", "Poison the training set; a BadNet and its clean twin."),
}

PRIVATE = {
    "keys": ("assay.cli.private:keys", "Certificates for a server and its clients."),
    "serve": ("assay.cli.private:serve", "Answer clients without seeing their pictures."),
    "infer": ("assay.cli.private:infer", "Answers from a server that does not see the pictures."),
    "demo": ("assay.cli.private:demo", "Server and client in two processes of this machine."),
}

app = App(
    name="assay",
    help="Use models you did not train, on machines you do not own.",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # it would exit without a word
)
attack = App(name="attack", help="Make a backdoored network, for testing defences.", suppress_keyboard_interrupt=False)
private = App(
    name="private",
    help="Two-party inference: the picture stays here, the weights there.",
    suppress_keyboard_interrupt=False,
)
app.command(attack)
app.command(private)
for parent, table in ((app, COMMANDS), (attack, ATTACKS), (private, PRIVATE)):
    for name, (place, line) in table.items():
        parent.command(place, name=name, help=line)


def main(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    debug, as_json = "--debug" in arguments, "--json" in arguments
    try:
        outcome = app(arguments, result_action="return_value", exit_on_error=False, print_error=False)
        if isinstance(outcome, Outcome):
            show(outcome, as_json)
            return outcome.exit_code
        return 0
    except CycloptsError as error:
        complain(_usage(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except Exception as error:  # the border of the program: a user gets a sentence, and never an exit code of 0 or 1
        if debug:
            traceback.print_exc()
        complain(_sentence(error))
        return error.exit_code if isinstance(error, AssayError) else 2


def _sentence(error: Exception) -> str:
    if isinstance(error, AssayError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory; take fewer or smaller pictures, or a smaller network"
    return f"this is a fault of Assay, please report it: {type(error).__name__}: {error} (--debug shows where)"


def _usage(error: CycloptsError) -> str:
    if not isinstance(error, UnknownCommandError) or not error.unused_tokens:
        return f"{error} See assay --help."
    # Cyclopts would import every command to say this.
    groups = {"attack": ATTACKS, "private": PRIVATE}
    names = [*groups.get(error.command_chain[0], {})] if error.command_chain else [*COMMANDS, *groups]
    close = difflib.get_close_matches(error.unused_tokens[0], names, n=1)
    advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
    return f"no command is named {error.unused_tokens[0]!r}; {advice}"


def entry() -> None:
    """The `assay` program."""
    # torch's threads else spin while they wait: on a busy machine that was measured to take twenty times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main(sys.argv[1:]))
