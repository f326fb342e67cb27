"""The console: the same use cases as the API, for people, in a browser.

    routes      all pages; errors as pages        sign_on   signing on and out
    common/     sessions, forms, changes          look/     templates, texts, stylesheet
    lists/ history/ traffic/ space/ overview/ setup/   the pages, by what they are about

It adds no rule of its own: what it lets through or refuses, `lists` and `access` do.
"""
