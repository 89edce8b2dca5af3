"""What is built on mmrep, one folder each.

Nothing of this is installed. A script here puts the folder that holds
projects/ in front of ``sys.path`` and then imports ``projects.…``.
"""
