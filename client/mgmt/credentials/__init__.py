"""Sign-ins: the issuer's calls, the tokens, where they are kept, and the provider that renews them."""
