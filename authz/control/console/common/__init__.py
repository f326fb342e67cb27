"""What pages share.

session       who is signed on; CSRF
forms         from fields to what the API takes, and from its mistakes back to the fields
changing      doing changes; the message after one, and undo
asking_api    what the API's handlers do, done for a page
"""
