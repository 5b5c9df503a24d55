"""What each verb of the command line does with its composed config: `run(config)` returns an exit code, or an
`Outcome` with a figure, too.
"""
