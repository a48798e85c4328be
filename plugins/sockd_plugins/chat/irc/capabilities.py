"""Capabilities that a client may ask for (IRCv3 capability negotiation)."""

from __future__ import annotations

ACCOUNT_NOTIFY = "account-notify"
ACCOUNT_TAG = "account-tag"
AWAY_NOTIFY = "away-notify"
BATCH = "batch"
CAP_NOTIFY = "cap-notify"
CHAT_HISTORY = "draft/chathistory"
ECHO_MESSAGE = "echo-message"
EXTENDED_JOIN = "extended-join"
LABELED_RESPONSE = "labeled-response"
MESSAGE_TAGS = "message-tags"
MULTI_PREFIX = "multi-prefix"
READ_MARKER = "draft/read-marker"
REDACTION = "draft/message-redaction"
SASL = "sasl"
SEARCH = "soju.im/search"
SERVER_TIME = "server-time"
STANDARD_REPLIES = "standard-replies"
USERHOST_IN_NAMES = "userhost-in-names"

CAPABILITIES = (
    ACCOUNT_NOTIFY,
    ACCOUNT_TAG,
    AWAY_NOTIFY,
    BATCH,
    CAP_NOTIFY,
    CHAT_HISTORY,
    ECHO_MESSAGE,
    EXTENDED_JOIN,
    LABELED_RESPONSE,
    MESSAGE_TAGS,
    MULTI_PREFIX,
    READ_MARKER,
    REDACTION,
    SEARCH,
    SERVER_TIME,
    STANDARD_REPLIES,
    USERHOST_IN_NAMES,
)
"""Capabilities of every server; `sasl` is added where accounts are configured.

Nobody has more than one rank in a room, so `multi-prefix` changes nothing: clients ask for it in vain, and
some say so.
"""

IN_FORMS = frozenset(
    {
        ACCOUNT_NOTIFY,
        ACCOUNT_TAG,
        AWAY_NOTIFY,
        BATCH,
        CHAT_HISTORY,
        EXTENDED_JOIN,
        MESSAGE_TAGS,
        REDACTION,
        SERVER_TIME,
        USERHOST_IN_NAMES,
    }
)
"""Capabilities that change how an event is encoded."""
