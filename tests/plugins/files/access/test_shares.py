from sockd_plugins.files.access.shares import Shares, UserQuota
from sockd_plugins.files.storage.sender import Share


def test_a_user_has_the_usual_share_or_one_of_its_own() -> None:
    shares = Shares(Share(100, 5), {"ann": UserQuota(size=200), "bob": UserQuota(size=0, files=0)})
    assert shares.of("eve") == Share(100, 5)
    assert shares.of("ann") == Share(200, 5)
    assert shares.of("bob") is None


def test_without_any_bound_nobody_is_counted() -> None:
    assert Shares().of("ann") is None
