"""Who may what: tokens and tenants, sessions of people, what waits for a second person, the audit."""
