"""What all rooms of the control plane speak of; nothing in here reads or writes.

records   entries, changes, who acts
problems  what is refused, with the code and status of its answer
holds     whom no trigger lists for a while
"""
