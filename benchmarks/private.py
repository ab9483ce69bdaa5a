"""What private inference costs: `python benchmarks/private.py [--quick] [--again] [--json]`, from the project's root.

The tables `assay bench private` and, without --quick, `assay bench private-exact`; options are passed on. What was
measured before is shown again, not measured again, unless --again says so.
"""

import sys

from assay.cli import main

if __name__ == "__main__":
    options = sys.argv[1:]
    code = main(["bench", "private", *options])
    if code == 0 and not {"--quick", "--help"} & set(options):
        code = main(["bench", "private-exact", *[option for option in options if option != "--again"]])
    sys.exit(code)
