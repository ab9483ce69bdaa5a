"""Private inference between two parties: the server never sees the picture, the client never sees the weights."""
