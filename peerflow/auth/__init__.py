"""Who calls: API keys from a file, and tokens of an OIDC provider.

A key is known by the SHA-256 of its text; nothing here holds the text itself for longer than a comparison takes. A token is believed
because of its signature, by a key that the issuer publishes, with one of a fixed list of asymmetric algorithms; what a token says of
itself chooses nothing but which published key it is compared with.

Whatever is wrong with credentials is told in one way (`Refused`), and in detail only to who has proved to hold them.
`Access` puts both together; `peerflow.api.authenticator` turns its answers into callers and problem documents.
"""
