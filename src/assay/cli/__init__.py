"""The command line: names to functions, in one table. A command's module is imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from assay.cli.console import Outcome, complain, show
from assay.errors import AssayError

app = App(name="assay", help="Use models you did not train, on machines you do not own.", version_flags=["--version"])
attack = App(name="attack", help="Make a backdoored network, for testing defences.")
app.command(attack)

COMMANDS = {
    "demo": "assay.cli.demo:demo",
    "vet": "assay.cli.vet:vet",
    "inspect": "assay.cli.inspect:inspect",
    "scan": "assay.cli.scan:scan",
    "repair": "assay.cli.repair:repair",
    "convert": "assay.cli.convert:convert",
    "data": "assay.cli.data:data",
    "train": "assay.cli.train:train",
    "bench": "assay.cli.bench:bench",
}
for name, place in COMMANDS.items():
    app.command(place, name=name)
attack.command("assay.cli.attack:badnet", name="badnet")


def main(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    debug, as_json = "--debug" in arguments, "--json" in arguments
    try:
        outcome = app(arguments, result_action="return_value", exit_on_error=False, print_error=False)
        if isinstance(outcome, Outcome):
            show(outcome, as_json)
            return outcome.exit_code
        return 0
    except AssayError as error:
        if debug:
            raise
        complain(str(error))
        return error.exit_code
    except CycloptsError as error:
        complain(f"{error} See assay --help.")
        return 2
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 2
    except Exception as error:
        # The border of the program: whatever went wrong, a user gets a sentence and "could not tell".
        if debug:
            raise
        complain(f"this is a fault of Assay, please report it: {type(error).__name__}: {error} (--debug shows where)")
        return 2


def entry() -> None:
    """The `assay` program."""
    sys.exit(main(sys.argv[1:]))
