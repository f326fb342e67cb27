"""Pages of the address space.

lockout  who of some networks is denied, by what
map      IPv4 as a picture: what is decided for whom; nearer, and what is there
tiles    the pictures, drawn once a file
"""
