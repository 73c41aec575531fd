"""Door 3, for people: the command `paidonce`. May read every table; starts the other doors as processes."""
