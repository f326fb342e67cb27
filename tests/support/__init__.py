"""What several tests use: real processes, a control plane, and a folder for each part of authz.

`suite` is about the run as a whole: the authz command, how often random tests try, the data beside the project, and
the Debian packages.
"""
