"""What triggers keep.

triggers  their versions, and those that are stopped
listings  why somebody was listed
holds     who is not listed again for a while
"""
