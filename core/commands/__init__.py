"""The command line: one file a command, each from arguments to a report.

Lives here: arguments, exit codes, standard output. Does not live here: anything a page could not also call.
"""
