"""The library of the book *Every Token Counts*.

Woven from chapters/. Edit a chapter, then run `make lib`.
"""
