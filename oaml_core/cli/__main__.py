"""`python -m oaml_core.cli`."""

from oaml_core.cli import main

main()
