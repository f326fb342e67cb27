"""How pages look.

render         from a template to an answer, with its headers
texts          times, numbers, hostile texts
differences    what a change made different
navigation     the links beside every page
static_files   stylesheet and script, and what others made: static/
templates/     in the folders of the pages
"""
