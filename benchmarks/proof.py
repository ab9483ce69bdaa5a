"""What proofs cost: `python benchmarks/proof.py [--quick] [--again] [--json]`, from the project's root.

The table `assay bench proof` and, without --quick, those that show the same measurements in other ways; options are
passed on. What was measured before is shown again, not measured again, unless --again says so.
"""

import sys

from assay.cli import main

if __name__ == "__main__":
    options = sys.argv[1:]
    code = main(["bench", "proof", *options])
    others = [] if {"--quick", "--help"} & set(options) else ["safetynets-speed", "proof-brief"]
    for table in others:
        if code == 0:
            code = main(["bench", table, *[option for option in options if option != "--again"]])
    sys.exit(code)
