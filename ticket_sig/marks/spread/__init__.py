"""The spread code: a message all over the mask, at places that nobody finds without the secret."""
