"""Events of clients: search among very many, and the time from an event to a listing."""
