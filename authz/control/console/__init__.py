"""The console: the same use cases as the API, for people, in a browser.

    routes         all pages; errors as pages
    session        who is signed on; CSRF        signing   signing on and out
    render texts   templates, headers; how times, numbers and hostile texts read
    forms          from fields to what the API takes, and from its mistakes back to the fields
    changing       doing changes; the message after one, and undo
    static_files   stylesheet, script, what others made
    lists/ history/ overview/   the pages, by what they are about; templates/ has the same folders

It adds no rule of its own: what it lets through or refuses, `lists` and `access` do.
"""
