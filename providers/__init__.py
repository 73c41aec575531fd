"""Each provider's dialect: verify, parse, answer, sign. Pure; one file per provider, all of the same shape."""
