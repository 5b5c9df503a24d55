"""What each verb of the command line does with its composed config: `run(config) -> exit code`, or an Outcome."""
