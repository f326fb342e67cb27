"""The use cases of lists: the one place of their rules. The API, the console and triggers translate and call these.

rules/     what they go by: checks, periods, limits of layers, the lock-out guard, four eyes
entries    add, change, change the period, delete; `many`: very many at once
bans       the short form: ban and unban an address
automatic  entries that triggers make; `holds`: what they leave alone after a person deleted one
documents  applications and settings of the policy; `protected`: bans of what is protected from now on
batch      changes that are written together
undo       take a change back; go back to an older state
preview    what a change would do, without doing it; `overlapping`: which of two entries decides
explain    why an address is allowed or denied, at any time

What they refuse is a `Problem`, with a code and the field.
"""
