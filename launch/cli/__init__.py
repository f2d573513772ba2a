"""Helpers of the programs: flags, configs, exit codes."""
