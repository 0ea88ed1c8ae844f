"""`python -m benchmarks.real_models URL MODEL` is `benchmarks.real_models.run`."""

from benchmarks.real_models.run import main

main()
