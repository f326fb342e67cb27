"""What the lists are made from besides what people write: fetched and resolved on a schedule, by the one who publishes.

rounds      a thread that does something again and again, while this control plane leads
copies      the last good copies of feeds, and what host names mean: on this disk, and in the store for the others
feeds       a round over feeds and host names; what is new lets the first layer be signed again
crowdsec    following the decisions of a CrowdSec LAPI: its bans are ours, too
config      `hosts` and `crowdsec` of control.yaml
"""
