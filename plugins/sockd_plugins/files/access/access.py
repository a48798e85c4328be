"""Decision who may send, from what a peer has shown, and what is known of it afterwards."""

from __future__ import annotations

from typing import Literal

from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IReactorTime

from sockd.errors import ValueFault
from sockd_plugins.files.access.credentials import is_token
from sockd_plugins.files.access.shares import Shares
from sockd_plugins.files.access.tokens import TokenGrant, Tokens
from sockd_plugins.files.access.users import user_name
from sockd_plugins.files.storage.refused import FileRefused, disk_errors
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.users.tries import NotTried, Run, Tries
from sockd_plugins.users.users import Users

Means = Literal["anyone", "tokens", "users", "certificates"]
"""Ways by which a sender may come in: without any proof, or with one."""

_OF_TOKEN, _OF_USER = "token:", "user:"  # begin the keys of senders

_WORDS = {
    "tokens": "a token",
    "users": "a user with a password or key",
    "certificates": "a client certificate",
}


class Access:
    """Access to one service.

    Args:
        means: the ways by which senders may come in.
        users: those with passwords and keys.
        tokens: the drop tokens.
        run: runs blocking work in a thread, as `Engine.run`.
        clock: tells the time.
        shares: bounds of the folders of users; by default there are none.
    """

    def __init__(
        self,
        means: tuple[Means, ...],
        users: Users,
        tokens: Tokens,
        run: Run,
        clock: IReactorTime,
        shares: Shares | None = None,
    ) -> None:
        self._means = means
        self._users = users
        self._tokens = tokens
        self._run = run
        self._shares = shares or Shares()
        self._tries = Tries(users.has_password, run, clock.seconds)

    async def sender(
        self,
        host: str,
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        key: bytes | None = None,
        certificate: X509 | None = None,
        again: bool = False,
    ) -> Sender:
        """Return the sender that a peer has proved to be.

        Args:
            host: address of the peer; "-" if it has none.
            token: text of a drop token.
            user: name of a user; or, with any password, the text of a token.
            password: of the user; or, with any user, the text of a token.
            key: an SSH public key in binary form, which the peer has proved to own.
            certificate: the client's, which TLS has verified.
            again: whether a token that has just expired lets the peer send again what it has sent.

        Raises:
            FileRefused: `denied` or `expired`, or `io` if it cannot be found out.
        """
        if token is not None:
            return await self._by_token(host, token, again=again)
        if user is not None:
            if self._may("users") and key is not None and self._users.has_key(user, key):
                return self._user(host, user)
            if self._may("users") and password is not None and user in self._users:
                return await self._by_password(host, user, password)
            if text := next((text for text in (user, password or "") if is_token(text)), None):
                return await self._by_token(host, text, again=again)
        if certificate is not None and self._may("certificates"):
            return self._by_certificate(host, certificate)
        # Who has the name of a user is that user, or nobody: clients try other keys first, or none.
        is_user = user is not None and self._may("users") and user in self._users
        if self._may("anyone") and not is_user:
            return Sender(host)
        if user is not None and password is not None and self._may("users"):
            return await self._by_password(host, user, password)
        found = ", found another key" if key is not None else ""
        raise FileRefused("denied", f"expected {self._expected()}{found}")

    def _may(self, means: Means) -> bool:
        return means in self._means

    async def _by_token(self, host: str, text: str, *, again: bool) -> Sender:
        if not (self._may("anyone") or self._may("tokens")):
            raise FileRefused("denied", f"expected {self._expected()}, found a token")
        with disk_errors():
            token = await self._run(self._tokens.find_again if again else self._tokens.find, text)
        grant = TokenGrant(self._tokens, token.id, late=token.is_late(self._tokens.now()))
        return Sender(host, f"{_OF_TOKEN}{token.id}", token.folder, grant)

    async def _by_password(self, host: str, user: str, password: str) -> Sender:
        try:
            right = await self._tries.is_right(Sender(host).source, user, password)
        except NotTried as refused:
            raise FileRefused(refused.code, str(refused)) from None
        if not right:
            raise FileRefused("denied", "wrong user or password")
        return self._user(host, user)

    def _by_certificate(self, host: str, certificate: X509) -> Sender:
        names = certificate.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        try:
            return self._user(host, user_name("\0".join(str(name.value) for name in names)))
        except ValueFault:
            raise FileRefused("denied", "the certificate's common name is no user's name") from None

    def _user(self, host: str, name: str) -> Sender:
        return Sender(host, f"{_OF_USER}{name}", name, share=self._shares.of(name))

    def _expected(self) -> str:
        return " or ".join(text for means, text in _WORDS.items() if means in self._means)


def certificate_of(transport: object) -> X509 | None:
    """Return the certificate of a client, which TLS has verified; None if it has none."""
    found = getattr(transport, "getPeerCertificate", None)
    return None if found is None else found()
