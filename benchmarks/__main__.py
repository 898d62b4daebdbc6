"""Print every table: ``python -m benchmarks``."""

from benchmarks import data_speed, notebook_cost, training_speed

for bench in (data_speed, training_speed, notebook_cost):
    print(f"\n## {bench.__doc__.splitlines()[0]}\n", flush=True)
    bench.main()
