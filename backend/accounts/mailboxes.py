"""One spelling for each mail address: the one that is kept, looked for and counted by."""

import idna


def normalise(address: str) -> str:
    """The address with its domain in ASCII, as mail servers know it: IDNA 2008 after the mapping of UTS 46, so that
    full-width or upper-case letters of any alphabet make no second address of one. ValueError for what that refuses.
    Django, left to itself, would send mail by IDNA 2003, where "straße" is "strasse", which is another's today.

    The part before the "@" is ASCII; it stays as it is, and is compared in any case.
    """
    local, at, domain = address.rpartition("@")
    if not local.isascii():
        raise ValueError("letters that are not ASCII before the @")
    if not domain.isascii():
        domain = idna.encode(domain, uts46=True).decode()
    return f"{local}{at}{domain}"


def normalise_login(login: str) -> str:
    """The same for what may be a name, an address or neither."""
    try:
        return normalise(login) if "@" in login else login
    except ValueError:
        return login
