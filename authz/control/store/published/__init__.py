"""What is signed, and what it is made of.

publications  signed files, and which sidecar has which
parts         of files of a layer
inputs        copies of feeds, and what host names mean
"""
