"""Lists of other programs as policy.yaml, with a note for every difference in meaning.

    found     what a reader found: entries, applications, notes
    nginx     allow, deny and geo of nginx
    envoy     Envoy's RBAC filter
    gravitee  Gravitee's ip-filtering policy
    plain     CSV, and what fail2ban prints
A reader takes text and gives `Imported`; nothing is guessed: what has no counterpart is a note, not an entry.
"""
