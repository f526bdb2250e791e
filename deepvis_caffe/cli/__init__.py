"""The `deepvis` command, one file a subcommand. Only this package prints."""
