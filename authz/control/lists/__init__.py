"""The use cases of lists: the one place of their rules. The API, the console and triggers translate and call these.

    check     whether what an entry says is well-formed
    periods   "2h", "forever" and times, as an entry's window
    guard     the lock-out guard, and what needs a second person
    batch     changes that are written together
    bans      the short form: ban and unban an address
    entries   add, change, change the period, delete
    undo      take a change back; go back to an older state
    preview   what a change would do, without doing it

What they refuse is a `Problem`, with a code and the field.
"""
