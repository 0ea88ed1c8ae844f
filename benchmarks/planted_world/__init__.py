"""Documents of the planted world: experiments, tables and plots of docs/benchmarks/planted.md."""
