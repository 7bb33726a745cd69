"""The commands: they check the command line before any work, and run one job in each process of a launcher."""
